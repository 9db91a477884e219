//! Whoever reads for long (a backup, `ledger check`, a shell) stops nobody, and what the log of changes grew to meanwhile is
//! given back.

use std::time::Instant;

use super::*;

/// What the log is cut down to, and a commit.
const KEPT_BYTES: u64 = 18 * 1024 * 1024;

impl Bench {
    /// Commits as much as this, all of it new; returns how long the longest commit took.
    async fn write_mib(&self, mib: usize, what: &str) -> Duration {
        let mut longest = Duration::ZERO;
        for n in 0..mib * 4 {
            let began = Instant::now();
            // Other bytes each time: what stays the same is not written again.
            let fill = char::from(b'a' + u8::try_from(n % 26).unwrap());
            let text = format!("{what} {n} {}", fill.to_string().repeat(256 * 1024));
            self.ledger.write(RememberTier(text)).await.unwrap();
            longest = longest.max(began.elapsed());
        }
        longest
    }

    fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.folder.path().join("briefd.db-wal")).unwrap().len()
    }

    /// A connection that reads, and goes on reading what is there now.
    async fn reads_on(&self) -> SqliteConnection {
        let mut reader = self.beside().await;
        sqlx::query("BEGIN").execute(&mut reader).await.unwrap();
        tier(&mut reader).await;
        reader
    }
}

async fn tier(reader: &mut SqliteConnection) -> Option<String> {
    let tier: Option<String> = sqlx::query_scalar("SELECT substr(value, 1, 7) FROM meta WHERE name = 'tier'")
        .fetch_optional(&mut *reader)
        .await
        .unwrap();
    tier
}

#[tokio::test]
async fn a_long_read_stops_nobody_and_what_the_log_grew_to_is_given_back() {
    let bench = Bench::new().await;
    let alone = bench.write_mib(1, "before").await;
    let mut reader = bench.reads_on().await;
    let beside = bench.write_mib(24, "beside").await;
    println!("longest commit: {alone:.1?} alone, {beside:.1?} beside a long read");
    assert_eq!(tier(&mut reader).await.as_deref(), Some("before "), "it sees what was when it began");
    assert!(bench.log_bytes() > KEPT_BYTES, "nothing is thrown away that it may still read");
    assert!(!bench.ledger.checkpoint(Duration::from_millis(50)).await.unwrap(), "somebody reads");
    bench.write_mib(1, "still").await;
    reader.close().await.unwrap();
    // Of its own accord, with the next commits.
    bench.write_mib(1, "after").await;
    assert!(bench.log_bytes() <= KEPT_BYTES, "{} bytes", bench.log_bytes());
    assert!(bench.ledger.checkpoint(Duration::from_millis(50)).await.unwrap());
    assert_eq!(bench.log_bytes(), 0);
}

#[tokio::test]
async fn under_readers_without_a_gap_between_them_the_log_is_emptied_all_the_same() {
    let bench = Bench::new().await;
    let mut reader = bench.reads_on().await;
    bench.write_mib(1, "first").await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut emptied = false;
    while !emptied {
        assert!(Instant::now() < deadline, "{} bytes are left", bench.log_bytes());
        // The next one has begun before this one ends: at no moment does nobody read.
        let next = bench.reads_on().await;
        reader.close().await.unwrap();
        emptied = bench.ledger.checkpoint(Duration::from_millis(50)).await.unwrap();
        reader = next;
    }
    assert_eq!(tier(&mut reader).await.as_deref(), Some("first 3"));
    assert_eq!(bench.log_bytes(), 0);
    reader.close().await.unwrap();
}

#[tokio::test]
async fn a_copy_is_made_while_others_write() {
    let bench = Bench::new().await;
    for number in 1..=3 {
        bench.send(numbered(number, json!({}))).await;
    }
    bench.write_mib(4, "before").await;
    let copy = bench.folder.path().join("copy.db");
    let (copied, longest) = tokio::join!(bench.ledger.reader().copy_to(&copy), bench.write_mib(8, "beside"));
    copied.unwrap();
    println!("longest commit beside the copy: {longest:.1?}");
    let copy = Reader::open(&copy).await.unwrap();
    assert_eq!(copy.damage().await.unwrap(), [""; 0]);
    assert_eq!(copy.tally().await.unwrap(), bench.ledger.reader().tally().await.unwrap());
}
