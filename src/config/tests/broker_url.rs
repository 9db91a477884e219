//! The broker's address, which holds a password.

use super::*;

#[track_caller]
fn is_refused(url: &str, expected: &str) {
    let text = given("").env(&[("BRIEFD__AMQP__URL", url)]).refusal();
    assert_eq!(text, format!("BRIEFD__AMQP__URL: amqp.url = (not shown): expected {expected}"));
}

#[test]
fn its_address_has_host_port_and_vhost_only() {
    for (url, address) in [
        ("amqp://user:secret@mq.example.com:5673/team%2fa", "mq.example.com:5673/team%2fa"),
        ("amqps://user:secret@mq.example.com/team", "mq.example.com:5671/team"),
        ("amqp://mq.example.com", "mq.example.com:5672/%2f"),
        ("amqp://user:secret@10.1.2.3/team?frame_max=4096", "10.1.2.3:5672/team"),
    ] {
        let amqp = given("").env(&[("BRIEFD__AMQP__URL", url)]).settings().amqp;
        assert_eq!(amqp.address, address);
        assert_eq!(amqp.url.expose_secret(), url);
    }
}

#[test]
fn a_malformed_one_is_refused_without_being_shown() {
    let form = "an address such as amqp://user:password@host:5672/%2f";
    let encode = "an address whose user, password and vhost are percent-encoded (@ is %40, / is %2f, # is %23, \
                  ? is %3f)";
    is_refused("s3cret", form);
    is_refused("amqp://", form);
    is_refused("amqp://user:s3/cret@host/v", form);
    is_refused("amqp://user:3/cret@host/v", encode);
    is_refused("amqp://user:3#cret@host/v", encode);
    is_refused("amqp://user:3?cret@host/v", encode);
    is_refused("http://user:s3cret@host/v", "an address that starts with amqp:// or amqps://");
    is_refused("amqp://user:s3cret@host/", "an address that names a vhost: /%2f for the default one");
    is_refused("amqp://user:s3cret@[::1]/v", "a host name or an IPv4 address; an IPv6 one needs a name");
}
