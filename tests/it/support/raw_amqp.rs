//! A publisher that sends bytes no client library would: it speaks just enough AMQP 0-9-1 to publish with confirms.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Method numbers: class and method.
const START_OK: [u16; 2] = [10, 11];
const TUNE_OK: [u16; 2] = [10, 31];
const OPEN: [u16; 2] = [10, 40];
const CHANNEL_OPEN: [u16; 2] = [20, 10];
const CONFIRM_SELECT: [u16; 2] = [85, 10];
const PUBLISH: [u16; 2] = [60, 40];
const ACK: [u16; 2] = [60, 80];

/// The property flag of each property that tests set, in the order in which they stand in a frame.
pub const CONTENT_TYPE: u16 = 0x8000;
pub const HEADERS: u16 = 0x2000;
pub const DELIVERY_MODE: u16 = 0x1000;
pub const PRIORITY: u16 = 0x0800;
pub const CORRELATION_ID: u16 = 0x0400;
pub const TIMESTAMP: u16 = 0x0040;

/// A connection with one channel.
pub struct RawPublisher {
    stream: TcpStream,
}

impl RawPublisher {
    /// Logs in at the broker of an AMQP address.
    pub fn connect(url: &str) -> Self {
        let url = reqwest::Url::parse(url).expect("a broker's address is a URL");
        let address = (url.host_str().expect("it has a host"), url.port().unwrap_or(5672));
        let mut stream = TcpStream::connect(address).expect("the broker can be reached");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket takes a timeout");
        stream.write_all(b"AMQP\0\0\x09\x01").expect("the broker listens");
        let mut publisher = Self { stream };
        publisher.receive();
        let login = format!("\0{}\0{}", url.username(), url.password().unwrap_or_default());
        publisher.send(
            0,
            START_OK,
            &[long(b""), short(b"PLAIN"), long(login.as_bytes()), short(b"en_US")].concat(),
        );
        let tune = publisher.receive();
        publisher.send(0, TUNE_OK, &tune[4..10].iter().copied().chain([0, 0]).collect::<Vec<u8>>());
        let vhost = match url.path() {
            "" => "/".to_owned(),
            path => path[1..].replace("%2f", "/").replace("%2F", "/"),
        };
        publisher.send(0, OPEN, &[short(vhost.as_bytes()), short(b""), vec![0]].concat());
        publisher.receive();
        publisher.send(1, CHANNEL_OPEN, &short(b""));
        publisher.receive();
        publisher.send(1, CONFIRM_SELECT, &[0]);
        publisher.receive();
        publisher
    }

    /// Publishes `body` with properties as raw bytes in the order of their flags, and waits until the broker has it.
    pub fn publish(&mut self, (exchange, key): (&str, &str), properties: &[(u16, Vec<u8>)], body: &[u8]) {
        let mandatory = [1];
        let to = [vec![0, 0], short(exchange.as_bytes()), short(key.as_bytes()), mandatory.to_vec()].concat();
        self.send(1, PUBLISH, &to);
        let mut header = vec![0, 60, 0, 0];
        header.extend((body.len() as u64).to_be_bytes());
        header.extend(properties.iter().fold(0, |flags, (flag, _)| flags | flag).to_be_bytes());
        header.extend(properties.iter().flat_map(|(_, bytes)| bytes));
        self.frame(2, 1, &header);
        self.frame(3, 1, body);
        let answer = self.receive();
        let is_ack = answer[..4] == [ACK[0].to_be_bytes(), ACK[1].to_be_bytes()].concat();
        assert!(is_ack, "the broker did not take it: {:?}", String::from_utf8_lossy(&answer));
    }

    fn send(&mut self, channel: u16, method: [u16; 2], arguments: &[u8]) {
        let method = method.map(u16::to_be_bytes).concat();
        self.frame(1, channel, &[&method, arguments].concat());
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let size = u32::try_from(payload.len()).expect("a frame is small");
        let frame = [&[kind][..], &channel.to_be_bytes(), &size.to_be_bytes(), payload, &[0xce]].concat();
        self.stream.write_all(&frame).expect("the broker listens");
    }

    /// The next method of the broker.
    fn receive(&mut self) -> Vec<u8> {
        loop {
            let mut head = [0; 7];
            self.stream.read_exact(&mut head).expect("the broker answers");
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
            let mut payload = vec![0; size as usize + 1];
            self.stream.read_exact(&mut payload).expect("the broker answers");
            if head[0] == 1 {
                return payload;
            }
        }
    }
}

/// A short string: at most 255 bytes.
pub fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("it is short")][..], text].concat()
}

/// A long string; also the frame of a table or an array around its entries.
pub fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("it is not that long").to_be_bytes()[..], bytes].concat()
}

/// One entry of a table: a name, the letter of its type, and its bytes.
pub fn field(name: &[u8], kind: u8, value: &[u8]) -> Vec<u8> {
    [&short(name)[..], &[kind], value].concat()
}
