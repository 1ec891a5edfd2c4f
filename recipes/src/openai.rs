//! async-openai, whose feature `middleware` sends requests by a tower service.

use affinity_layer::RouterService;
use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use tower::{ServiceExt, service_fn};

use crate::reqwest_client;

/// A client of the API at `url` that asks `router` for the model of each new session.
///
/// The library hands its service a factory of requests, so that it can send one again; each is built, and
/// goes through the stack for reqwest. That stack fails over, so there is no retry layer above it: it would
/// multiply the attempts.
pub fn agent(router: impl RouterService, url: &str, key: &str) -> Client<OpenAIConfig> {
    let agent = reqwest_client::agent(router, reqwest::Client::new());
    let service = service_fn(move |factory: HttpRequestFactory| {
        let agent = agent.clone();
        async move {
            let request = factory.build().await?.try_into().map_err(OpenAIError::Reqwest)?;
            let answer = agent.oneshot(request).await.map_err(OpenAIError::Boxed)?;
            Ok::<_, OpenAIError>(reqwest::Response::from(answer))
        }
    });
    let config = OpenAIConfig::new().with_api_base(format!("{url}/v1")).with_api_key(key);
    Client::with_config(config).with_http_service(service)
}
