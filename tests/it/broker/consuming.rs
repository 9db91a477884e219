//! The source: deliveries, acknowledgements, prefetch.

use briefd::flow::Source as _;
use lapin::options::QueueDeleteOptions;

use super::rig::{PATIENCE, Rig, numbers, receive, receive_all};

#[tokio::test]
async fn one_acknowledgement_covers_all_that_was_received_and_nothing_else() {
    let rig = Rig::new().await;
    rig.declare().await;
    rig.enqueue(0..10).await;
    let mut consumer = rig.consumer(&rig.amqp, false);
    assert_eq!(numbers(&receive_all(&mut consumer, 3).await), [0, 1, 2]);
    assert_eq!(numbers(&receive_all(&mut consumer, 1).await), [3]);
    consumer.acknowledge().await;
    assert_eq!(numbers(&receive_all(&mut consumer, 2).await), [4, 5]);
    consumer.close(PATIENCE).await;

    let mut consumer = rig.consumer(&rig.amqp, false);
    let mut again = receive_all(&mut consumer, 6).await;
    again.sort_by_key(|delivery| numbers(std::slice::from_ref(delivery)));
    assert_eq!(numbers(&again), [4, 5, 6, 7, 8, 9]);
    assert!(again.iter().all(|delivery| delivery.redelivered));
    consumer.acknowledge().await;
    consumer.close(PATIENCE).await;
    rig.wait_for_ready(&rig.amqp.input.queue, Some(0)).await;
    assert_eq!(rig.metrics.ack_lost_total.get(), 0);
    rig.clean_up().await;
}

#[tokio::test]
async fn a_receive_that_is_dropped_loses_nothing() {
    let rig = Rig::new().await;
    rig.declare().await;
    rig.enqueue(0..200).await;
    let mut consumer = rig.consumer(&rig.amqp, false);
    let mut received = Vec::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while received.len() < 200 {
        assert!(tokio::time::Instant::now() < deadline, "only {} came", received.len());
        tokio::select! {
            biased;
            deliveries = consumer.receive(7) => received.extend(numbers(&deliveries.unwrap())),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(received, (0..200).collect::<Vec<_>>());
    consumer.close(PATIENCE).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn after_an_unclean_stop_the_prefetch_starts_at_one_and_doubles() {
    let mut rig = Rig::new().await;
    rig.amqp.prefetch = 6;
    rig.declare().await;
    rig.enqueue(0..40).await;
    let mut consumer = rig.consumer(&rig.amqp, true);
    let mut received = 0;
    for prefetch in [1_u32, 2, 4, 6, 6] {
        assert_eq!(u32::from(consumer.prefetch()), prefetch);
        let expected: Vec<u32> = (received..received + prefetch).collect();
        assert_eq!(numbers(&receive_all(&mut consumer, expected.len()).await), expected);
        received += prefetch;
        // The broker holds back the rest until this is acknowledged.
        rig.wait_for_ready(&rig.amqp.input.queue, Some(40 - received)).await;
        consumer.acknowledge().await;
    }
    consumer.stop().await;
    while let Some(deliveries) = receive(&mut consumer, 100).await {
        received += u32::try_from(deliveries.len()).unwrap();
        consumer.acknowledge().await;
    }
    consumer.close(PATIENCE).await;
    rig.wait_for_ready(&rig.amqp.input.queue, Some(40 - received)).await;
    assert_eq!(rig.metrics.ack_lost_total.get(), 0);
    rig.clean_up().await;
}

#[tokio::test]
async fn a_stopped_consumer_hands_out_what_it_has_and_leaves_the_rest_untouched() {
    let mut rig = Rig::new().await;
    rig.amqp.prefetch = 4;
    rig.declare().await;
    rig.enqueue(0..10).await;
    let mut consumer = rig.consumer(&rig.amqp, false);
    assert_eq!(numbers(&receive_all(&mut consumer, 1).await), [0]);
    rig.wait_for_ready(&rig.amqp.input.queue, Some(6)).await;
    consumer.stop().await;
    assert_eq!(numbers(&receive_all(&mut consumer, 3).await), [1, 2, 3]);
    assert_eq!(receive(&mut consumer, 10).await, None);
    assert_eq!(receive(&mut consumer, 10).await, None);
    consumer.acknowledge().await;
    consumer.close(PATIENCE).await;
    rig.wait_for_ready(&rig.amqp.input.queue, Some(6)).await;
    assert!(!rig.get(&rig.amqp.input.queue).await.delivery.redelivered);
    rig.clean_up().await;
}

#[tokio::test]
async fn a_paused_consumer_hands_out_what_it_has_and_goes_on_later() {
    let mut rig = Rig::new().await;
    rig.amqp.prefetch = 4;
    rig.declare().await;
    rig.enqueue(0..10).await;
    let mut consumer = rig.consumer(&rig.amqp, false);
    assert_eq!(numbers(&receive_all(&mut consumer, 1).await), [0]);
    rig.wait_for_ready(&rig.amqp.input.queue, Some(6)).await;
    consumer.pause(true).await;
    assert_eq!(numbers(&receive_all(&mut consumer, 3).await), [1, 2, 3]);
    consumer.acknowledge().await;
    tokio::select! {
        _ = consumer.receive(10) => panic!("a paused consumer delivered"),
        () = rig.wait_for_ready(&rig.amqp.input.queue, Some(6)) => {}
    }
    consumer.pause(false).await;
    assert_eq!(numbers(&receive_all(&mut consumer, 4).await), [4, 5, 6, 7]);
    consumer.acknowledge().await;
    assert_eq!(numbers(&receive_all(&mut consumer, 2).await), [8, 9]);
    consumer.acknowledge().await;
    consumer.close(PATIENCE).await;
    rig.wait_for_ready(&rig.amqp.input.queue, Some(0)).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn a_consumer_whose_queue_is_deleted_declares_it_again_and_goes_on() {
    let rig = Rig::new().await;
    rig.declare().await;
    rig.enqueue(0..1).await;
    let mut consumer = rig.consumer(&rig.amqp, false);
    assert_eq!(numbers(&receive_all(&mut consumer, 1).await), [0]);
    consumer.acknowledge().await;
    let queue = &rig.amqp.input.queue;
    rig.channel().await.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    let (deliveries, ()) = tokio::join!(receive_all(&mut consumer, 1), rig.enqueue_when_bound(1));
    assert_eq!(numbers(&deliveries), [1]);
    consumer.acknowledge().await;
    assert_eq!(rig.metrics.amqp_reconnects_total.get(), 1);
    assert_eq!(rig.metrics.ack_lost_total.get(), 0);
    consumer.close(PATIENCE).await;
    rig.clean_up().await;
}
