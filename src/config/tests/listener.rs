//! The form of listeners and the rules between them.

use super::{error, load};
use crate::config::SecurityProtocol;

fn listeners(text: &str) -> Vec<String> {
    let config = load(&format!("listeners = '{text}'")).unwrap().config;
    config.listeners.iter().map(ToString::to_string).collect()
}

#[test]
fn forms() {
    assert_eq!(listeners("plaintext://:9092"), ["PLAINTEXT://:9092"]);
    assert_eq!(listeners("PLAINTEXT://localhost:0"), ["PLAINTEXT://localhost:0"]);
    assert_eq!(listeners("PLAINTEXT://[::1]:9092"), ["PLAINTEXT://[::1]:9092"]);
    for bad in [
        "PLAINTEXT",
        "PLAINTEXT://a",
        "PLAINTEXT://a:x",
        "://a:1",
        "PLAINTEXT://a:65536",
        "PLAINTEXT://::1:9092",
        "PLAINTEXT://[a]:1",
        "PLAINTEXT://a b:1",
        "PLAINTEXT:/a:1",
    ] {
        let message = error(load(&format!("listeners = '{bad}'")));
        assert!(message.contains(&format!("'{bad}' is not NAME://host:port")), "{message}");
    }
}

#[test]
fn names_and_ports_are_distinct() {
    let map = "listener.security.protocol.map = 'A:PLAINTEXT,B:PLAINTEXT'\n";
    let refused = |text: &str| {
        error(load(&format!("{map}listeners = '{text}'\nadvertised.listeners = 'A://h:1'")))
    };
    assert_eq!(refused("A://h:1,A://h:2"), "listeners: A://h:1 and A://h:2 have the same name");
    assert_eq!(refused("A://h:1,B://i:1"), "listeners: A://h:1 and B://i:1 have the same port");
    let accepted = |text: &str| load(&format!("{map}listeners = '{text}'")).is_ok();
    assert!(accepted("A://h:0,B://h:0"));
    assert!(accepted("A://127.0.0.1:1,B://[::1]:1"));
}

#[test]
fn protocols() {
    let text = "listeners = 'PLAINTEXT://a:1,EXTERNAL://b:2'\n";
    assert_eq!(
        error(load(text)),
        "listeners: the listener EXTERNAL has no protocol; add EXTERNAL:PLAINTEXT to \
         listener.security.protocol.map"
    );
    let map = "listener.security.protocol.map = 'PLAINTEXT:PLAINTEXT,external:plaintext'";
    let config = load(&format!("{text}{map}")).unwrap().config;
    assert_eq!(config.listeners[1].protocol, SecurityProtocol::Plaintext);
    assert_eq!(
        error(load("listeners = 'SSL://a:1'")),
        "listeners: the listener SSL speaks SSL by listener.security.protocol.map, \
         but only PLAINTEXT is served so far"
    );
    assert!(error(load("listener.security.protocol.map = 'A'")).contains("A is not NAME:PROTOCOL"));
    assert!(error(load("listener.security.protocol.map = 'A:B'")).contains("B is not a protocol"));
    assert!(
        error(load("listener.security.protocol.map = 'A:SSL,A:PLAINTEXT'"))
            .contains("two protocols")
    );
}

#[test]
fn advertised() {
    assert!(error(load("listeners = 'PLAINTEXT://0.0.0.0:9092'")).contains("set advertised"));
    let text = "listeners = 'PLAINTEXT://0.0.0.0:9092'\n";
    let config = load(&format!("{text}advertised.listeners = 'PLAINTEXT://h:1'")).unwrap().config;
    assert_eq!(config.advertised_listeners[0].to_string(), "PLAINTEXT://h:1");
    // An empty host is left to the caller, who knows the name of the machine.
    let config = load("listeners = 'PLAINTEXT://:9092'").unwrap().config;
    assert_eq!(config.advertised_listeners[0].host, "");
    let text = "advertised.listeners = 'SASL_SSL://h:1'";
    assert!(error(load(text)).contains("only PLAINTEXT is served"));
    let text = "advertised.listeners = 'X://h:1'\n\
                listener.security.protocol.map = 'X:PLAINTEXT,PLAINTEXT:PLAINTEXT'";
    assert_eq!(error(load(text)), "advertised.listeners: no listener has the name X");
}

#[test]
fn controllers_listeners_are_apart() {
    let text = "listeners = 'PLAINTEXT://h:1,CONTROLLER://h:2'\n\
                controller.listener.names = 'CONTROLLER'\n\
                listener.security.protocol.map = 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT'\n";
    let config = load(text).unwrap().config;
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.advertised_listeners, config.listeners);
    assert_eq!(config.controller_listeners[0].to_string(), "CONTROLLER://h:2");
    let only = "listeners = 'PLAINTEXT://h:1'\ncontroller.listener.names = 'PLAINTEXT'";
    assert!(error(load(only)).contains("listeners has none that clients could use"));
}
