//! `briefd records`: the stored bytes, again and again.

use super::*;

#[tokio::test]
async fn records_are_sent_again_with_the_same_bytes_and_counted() {
    let world = World::with_trouble().await;
    world.publish(100).await;
    let sent = world.run(&["records", "--batch", SPRING]).await;
    let asked = ["records", "--batch", SPRING, "--publish", "--reason", "a new consumer"];
    // The worker of these tests does not look at requests.
    let mut told = Vec::new();
    let waiting = world.try_run(&asked, &mut told);
    let carried_out = async {
        loop {
            let open = world.ledger.reader().open_requests(10).await.unwrap();
            let Some(request) = open.first() else {
                tokio::task::yield_now().await;
                continue;
            };
            assert_eq!((request.kind.as_str(), request.reason.as_str()), ("records", "a new consumer"));
            break crate::app::requests::carry_out_beside(&world.ledger, &world.clock).await.unwrap();
        }
    };
    let (outcome, done) = tokio::join!(waiting, carried_out);
    assert_eq!((outcome.unwrap(), done), (Outcome::Done, 1));
    assert_eq!(String::from_utf8(told).unwrap(), "6 records put into the outbox again.\n");
    let due = world.ledger.pending(100, world.clock.now_ms()).await.unwrap();
    let again: Vec<_> = due.iter().map(|row| String::from_utf8(row.message.body.clone()).unwrap()).collect();
    assert_eq!(again, sent.lines().collect::<Vec<_>>());
    assert_eq!(world.run(&asked).await, "", "they are on their way already");
}

#[tokio::test]
async fn records_are_the_stored_bytes_in_order() {
    let world = World::with_trouble().await;
    let due = world.ledger.pending(100, world.clock.now_ms()).await.unwrap();
    let stored: Vec<_> = due.into_iter().map(|row| String::from_utf8(row.message.body).unwrap()).collect();
    let all = world.run(&["records"]).await;
    let all: Vec<_> = all.lines().collect();
    assert_eq!(all.len(), 8);
    assert_eq!(all[all.len() - stored.len()..], stored);

    let some = async |filter: &[&str]| -> Vec<String> {
        world.run(&[&["records"], filter].concat()).await.lines().map(ToOwned::to_owned).collect()
    };
    assert_eq!(some(&["--batch", SPRING]).await, all[..6]);
    assert_eq!(some(&["--project", "nova"]).await, [all[3], all[4], all[6], all[7]]);
    assert_eq!(some(&["--type", "brief.failed"]).await, [all[5]]);
    assert_eq!(
        some(&["--batch", SPRING, "--project", "acme-fit", "--type", "container.failed"]).await,
        [all[2]]
    );
    assert_eq!(some(&["--since", "2026-05-02T01:07:00Z"]).await, all[6..]);
    assert_eq!(some(&["--batch", SPRING, "--since", "2026-05-02T01:07:00Z"]).await, [""; 0]);
}

/// Takes `left` bytes, then is a pipe that nobody reads.
struct Pipe {
    left: usize,
    read: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        self.read.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn records_are_followed_until_nobody_reads_them() {
    let world = World::with_trouble().await;
    let before = world.run(&["records", "--project", "nova"]).await.len();
    // One byte of the next record, and the reader is gone.
    let mut pipe = Pipe { left: before + 1, read: Vec::new() };
    let following = world.try_run(&["records", "--project", "nova", "--follow"], &mut pipe);
    let coming = async {
        world.refuse("nova", "later", "l-01", "MODERATION_BLOCKED").await;
        loop {
            world.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        end = following => assert!(is_broken_pipe(&end.unwrap_err())),
        () = coming => {}
    }
    assert_eq!(pipe.read.len(), before + 1);
}
