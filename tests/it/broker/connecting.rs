//! Connections: refused, cut, not there yet.

use std::ops::ControlFlow;

use briefd::broker::{Purpose, connect};
use briefd::config::amqp::Amqp;
use briefd::flow::{SendOutcome, Sink as _, Source as _};
use secrecy::SecretString;

use super::rig::{PATIENCE, Rig, broker_url, numbers, ready, receive_all, record, send};
use crate::support::forwarder::{Forwarder, Line};

#[tokio::test]
async fn a_connection_cut_in_the_middle_is_built_again_and_lost_acknowledgements_are_counted() {
    let rig = Rig::new().await;
    rig.declare().await;
    rig.enqueue(0..5).await;
    let mut forwarder = Forwarder::reserve();
    forwarder.listen(&broker_url());
    forwarder.set(Line::Open);
    let amqp = rig.through(&forwarder);
    let mut consumer = rig.consumer(&amqp, false);
    let mut publisher = rig.publisher(&amqp);
    ready(&mut publisher).await;
    let status = consumer.status();
    assert_eq!(receive_all(&mut consumer, 5).await.len(), 5);
    assert!(status.connected());

    forwarder.set(Line::Closed);
    // All five are free again: the broker has noticed too.
    rig.wait_for_ready(&rig.amqp.input.queue, Some(5)).await;
    consumer.acknowledge().await;
    assert_eq!(rig.metrics.ack_lost_total.get(), 5);
    assert_eq!(publisher.send(&[record("a", "key")]).await, ControlFlow::Break(()));

    forwarder.set(Line::Open);
    let again = receive_all(&mut consumer, 5).await;
    assert!(again.iter().all(|delivery| delivery.redelivered));
    consumer.acknowledge().await;
    ready(&mut publisher).await;
    assert_eq!(send(&mut publisher, &[record("a", "key")]).await, [SendOutcome::Unroutable]);
    assert_eq!(rig.metrics.amqp_reconnects_total.get(), 2);
    assert_eq!(rig.metrics.ack_lost_total.get(), 5);
    publisher.close(PATIENCE).await;
    consumer.close(PATIENCE).await;
    rig.wait_for_ready(&rig.amqp.input.queue, Some(0)).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_at_the_start_is_waited_for() {
    let rig = Rig::new().await;
    rig.declare().await;
    rig.enqueue(0..1).await;
    let mut forwarder = Forwarder::reserve();
    let amqp = rig.through(&forwarder);
    let mut consumer = rig.consumer(&amqp, false);
    let status = consumer.status();
    let receiving = tokio::spawn(async move { (receive_all(&mut consumer, 1).await, consumer) });
    let error = connect(&amqp, Purpose::Inspect).await.unwrap_err();
    assert!(error.to_string().contains("cannot reach RabbitMQ"), "{error}");
    assert!(!status.connected());
    forwarder.listen(&broker_url());
    forwarder.set(Line::Open);
    let (deliveries, mut consumer) = receiving.await.unwrap();
    assert_eq!(numbers(&deliveries), [0]);
    assert!(status.connected());
    consumer.acknowledge().await;
    consumer.close(PATIENCE).await;
    assert!(!status.connected());
    rig.clean_up().await;
}

#[tokio::test]
async fn a_refused_login_and_a_missing_virtual_host_are_told_apart() {
    let rig = Rig::new().await;
    rig.declare().await;
    let mut url = url::Url::parse(&broker_url()).unwrap();
    url.set_path("/no-such-vhost");
    let amqp = Amqp { url: SecretString::from(url.to_string()), ..rig.amqp.clone() };
    let error = connect(&amqp, Purpose::Inspect).await.unwrap_err().to_string();
    assert!(error.contains("refused the virtual host") && error.contains("no-such-vhost"), "{error}");

    let mut url = url::Url::parse(&broker_url()).unwrap();
    url.set_password(Some("wr0ng-secret")).unwrap();
    let amqp = Amqp { url: SecretString::from(url.to_string()), ..rig.amqp.clone() };
    let error = connect(&amqp, Purpose::Inspect).await.unwrap_err().to_string();
    assert!(error.contains("refused the login") && !error.contains("wr0ng-secret"), "{error}");
    rig.clean_up().await;
}
