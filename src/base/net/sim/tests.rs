//! What arrives on the simulated network, and when.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::base::net::sim::{Path, SimListener, SimNet, SimStream};

const LATENCY: Duration = Duration::from_millis(5);

fn host(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Two hosts, a connection between them, and the far end of it.
fn connected() -> (SimNet, SimStream, SimStream, SimListener) {
    let net = SimNet::new(1);
    net.set_usual(Path { latency: LATENCY, ..Path::default() });
    let listener = net.at(host(2)).bind("", 9000).expect("bound");
    let here = net.at(host(1));
    let mut connecting = Box::pin(here.connect("10.0.0.2", 9000));
    assert!(connecting.as_mut().now_or_never().is_none(), "it takes a round trip");
    net.set_now(milliseconds(10));
    let near = connecting.now_or_never().expect("connected").expect("accepted");
    let (far, from) = listener.accept().now_or_never().expect("there is one");
    assert_eq!(from.ip(), host(1));
    (net, near, far, listener)
}

fn read(stream: &mut SimStream) -> Option<std::io::Result<Vec<u8>>> {
    let mut buffer = [0; 100];
    let read = stream.read(&mut buffer).now_or_never()?;
    Some(read.map(|size| buffer[..size].to_vec()))
}

fn write(stream: &mut SimStream, what: &[u8]) -> std::io::Result<()> {
    stream.write_all(what).now_or_never().expect("there is room")
}

#[test]
fn what_is_sent_arrives_later_and_in_order() {
    let (net, mut near, mut far, _listener) = connected();
    write(&mut near, b"one").expect("sent");
    net.set_now(milliseconds(12));
    write(&mut near, b"two").expect("sent");
    net.set_now(milliseconds(14));
    assert!(read(&mut far).is_none());
    net.set_now(milliseconds(17));
    assert_eq!(read(&mut far).expect("due").expect("read"), b"onetwo");
    drop(near);
    assert!(read(&mut far).is_none());
    net.set_now(milliseconds(30));
    assert_eq!(read(&mut far).expect("due").expect("the end"), b"");
}

#[test]
fn a_cut_path_holds_back_one_direction() {
    let (net, mut near, mut far, _listener) = connected();
    let cut = Path { is_cut: true, ..Path::default() };
    net.set_path(host(1), host(2), Some(cut));
    write(&mut near, b"held").expect("sent");
    write(&mut far, b"through").expect("sent");
    net.set_now(milliseconds(5000));
    assert!(read(&mut far).is_none());
    assert_eq!(read(&mut near).expect("due").expect("read"), b"through");
    net.set_path(host(1), host(2), None);
    net.set_now(milliseconds(5200));
    assert_eq!(read(&mut far).expect("due").expect("read"), b"held");
}

#[test]
fn a_dead_machine_is_silent_until_it_is_back() {
    let (net, mut near, far, listener) = connected();
    net.power_off(host(2));
    drop((far, listener));
    let here = net.at(host(1));
    let mut connecting = Box::pin(here.connect("10.0.0.2", 9000));
    write(&mut near, b"anybody").expect("swallowed");
    net.set_now(milliseconds(60_000));
    assert!(read(&mut near).is_none());
    assert!(connecting.as_mut().now_or_never().is_none());
    net.power_on(host(2));
    net.set_now(milliseconds(60_010));
    assert!(read(&mut near).expect("told").is_err());
    let refused = connecting.now_or_never().expect("answered").expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_process_that_ends_is_noticed() {
    let (net, mut near, far, listener) = connected();
    drop((far, listener));
    net.set_now(milliseconds(20));
    assert_eq!(read(&mut near).expect("told").expect("the end"), b"");
    write(&mut near, b"more").expect("sent");
    net.set_now(milliseconds(30));
    assert!(write(&mut near, b"more").is_err());
}
