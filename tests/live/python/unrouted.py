"""The OpenAI SDK: what no session decides. Two accounts, of which each knows only what it made."""

import io

import openai
from checks import GATEWAY, KEY, expect, fail, passed

client = openai.OpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0)

for model, account in [("openai/gpt-4o", "one"), ("groq/llama-4", "two")]:
    made = client.responses.create(model=model, input="hello", background=True)
    expect("the account", made.output_text, account)
    expect("status", client.responses.retrieve(made.id).status, "queued")
    expect("input items", list(client.responses.input_items.list(made.id)), [])
    expect("cancelled", client.responses.cancel(made.id).status, "cancelled")
    client.responses.delete(made.id)
    try:
        client.responses.retrieve(made.id)
    except openai.NotFoundError as error:
        if account not in str(error):
            fail(f"not the provider's own answer: {error}")
    else:
        fail("a response that was deleted is still there")
passed("responses are retrieved, cancelled and deleted where they were made")

try:
    client.responses.retrieve("resp_unknown")
except openai.NotFoundError as error:
    if "24 hours" not in str(error):
        fail(f"the error does not say why: {error}")
else:
    fail("an unknown response was found")
passed("an unknown response is told")

file = client.files.create(file=("a.txt", io.BytesIO(b"x" * (8 << 20))), purpose="assistants")
if file.bytes < 8 << 20:
    fail(f"{file.bytes} bytes came")
expect("the file", client.files.retrieve(file.id).id, file.id)
expect("its content", client.files.content(file.id).read(), b"content")
part = {"type": "input_file", "file_id": file.id}
told = client.responses.create(model="auto", input=[{"role": "user", "content": [part]}])
expect("where the file is", told.output_text, "one")
expect("deleted", client.files.delete(file.id).deleted, True)
passed("a file is uploaded, used, read and deleted at one provider")

for model, own in [("gpt-4o", "gpt-4o"), ("groq/llama-4", "llama-4")]:
    expect("embeddings by", client.embeddings.create(model=model, input="a").model, own)
passed("embeddings go to the provider of their model")

sound = ("a.wav", io.BytesIO(b"RIFF"))
text = client.audio.transcriptions.create(model="whisper-1", file=sound).text
if not text.endswith(" bytes"):
    fail(f"a transcription says {text}")
passed("a transcription passes")
