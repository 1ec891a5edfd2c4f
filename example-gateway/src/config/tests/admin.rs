//! The admin API: off unless asked for, and never without a token.

use super::*;

#[test]
fn it_is_off_unless_it_is_asked_for() {
    assert!(with_model("").admin.is_none());
    let config = with_model("admin: {address: '127.0.0.1:12002', token: $TEAM_KEY}\n");
    let shown = format!("{config:?}\n{}", summary(&config));
    assert!(shown.contains("admin     127.0.0.1:12002") && !shown.contains("hush"), "{shown}");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let admin = config.admin.unwrap();
    assert_eq!(admin.address.to_string(), "127.0.0.1:12002");
    assert_eq!(admin.token.expose_secret(), "hush-TEAM_KEY");
}

#[test]
fn it_needs_a_token_and_an_address_of_its_own() {
    refused(&[
        ("admin: {address: '127.0.0.1:12002'}", "2: admin: token is missing"),
        ("admin: {token: t}", "2: admin: address is missing"),
        ("admin: {address: '127.0.0.1:12002', token: $EMPTY}", "2: admin.token: must not be empty"),
        (
            "admin: {address: '127.0.0.1:12002', token: two words}",
            "2: admin.token: must be visible ASCII: it has to fit into a header",
        ),
        (
            "admin: {address: localhost, token: t}",
            "2: admin.address: must be an IP address and a port, for example 127.0.0.1:12002",
        ),
        (
            "admin: {address: '127.0.0.1:12000', token: t}",
            "2: admin.address: is the address of a listener",
        ),
        (
            "admin: {adress: '127.0.0.1:12002', address: '127.0.0.1:12002', token: t}",
            "2: admin.adress: unknown key, did you mean address?",
        ),
    ]);
}

#[test]
fn the_port_of_a_listener_is_free_on_another_address() {
    for (listener, admin, meets) in [
        ("127.0.0.1", "127.0.0.2:12000", false),
        ("127.0.0.1", "0.0.0.0:12000", true),
        ("0.0.0.0", "127.0.0.1:12000", true),
        ("127.0.0.1", "127.0.0.1:0", false),
    ] {
        let keys = "client_keys: [{name: a, key: k}]";
        let text = format!(
            "{MODEL}listeners: [{{address: {listener}, {keys}}}]\n\
             admin: {{address: '{admin}', token: t}}\n"
        );
        assert_eq!(read(&text).is_err(), meets, "{listener} {admin}");
    }
}

#[test]
fn an_address_beyond_loopback_is_told() {
    let config = with_model("admin: {address: '0.0.0.0:12002', token: t}\n");
    let [warning] = &warnings(&config)[..] else { panic!() };
    assert!(warning.starts_with("admin.address: 0.0.0.0:12002 is beyond loopback"), "{warning}");
}
