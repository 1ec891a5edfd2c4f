//! Every call that the guide shows is answered, in its order.

use std::path::Path;

use affinity_tests::{ModelRouter, Setup, Upstream, within};
use tokio::process::Command;

use crate::{Admin, TOKEN, with_admin};

#[tokio::test]
async fn every_call_of_the_guide_is_answered() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let gateway = with_admin(Setup::routed(&upstream, &router)).start().await;
    let admin = Admin::of(&gateway).await;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/admin.md");
    let text = std::fs::read_to_string(file).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut made = 0;
    for block in blocks {
        let here = block
            .replace("127.0.0.1:12000", &gateway.address().to_string())
            .replace("127.0.0.1:12002", &admin.0.to_string())
            .replace("curl ", "curl --fail-with-body ");
        let mut shell = Command::new("sh");
        let output = shell.args(["-ec", &here]).env("ADMIN_TOKEN", TOKEN).output();
        let output = within(output).await.unwrap();
        assert!(output.status.success(), "{block}: {output:?}");
        made += here.matches("curl ").count();
    }
    assert_eq!(made, 12);
}
