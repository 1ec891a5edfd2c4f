"""LangGraph: a graph of a model and its tools; the session is a default header of the model."""

from checks import GATEWAY, KEY, MAX_TURNS, PROMPTS, Turn, holds_one_model
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition


@tool
def look_up(word: str) -> str:
    """Looks up a word."""
    return f"{word} is found"


def agent(session: dict[str, str], responses: bool):
    model = ChatOpenAI(
        model="auto",
        base_url=f"{GATEWAY}/v1",
        api_key=KEY,
        default_headers=session,
        include_response_headers=True,
        use_responses_api=responses,
        max_retries=0,
    ).bind_tools([look_up])
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([look_up]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile()


def converse(session: dict[str, str], responses: bool) -> list[Turn]:
    graph, messages = agent(session, responses), []
    for prompt in PROMPTS[:2]:
        messages.append({"role": "user", "content": prompt})
        state = graph.invoke({"messages": messages}, {"recursion_limit": 2 * MAX_TURNS})
        messages = state["messages"]
    answers = [message for message in messages if isinstance(message, AIMessage)]
    return [Turn.of(answer.response_metadata["headers"]) for answer in answers]


holds_one_model("LangGraph, chat", lambda session: converse(session, False))
holds_one_model("LangGraph, responses", lambda session: converse(session, True))
