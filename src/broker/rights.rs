//! Whether we may publish to an exchange, asked without publishing anything.
//!
//! RabbitMQ looks at the right to write before it looks at a message's properties, and at those before it routes. A
//! message whose time to live is no number is therefore refused by every version: with 403 where the right is missing,
//! with 406 where all but the message is in order. Nobody ever gets it.

use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::protocol::AMQPSoftError;
use lapin::types::ShortString;

use super::connect::Connection;
use super::{ANSWER_LIMIT, constant, plain, reply_code};
use crate::crash_point::around;

/// Why we may not publish to this exchange; `None`: we may, or nobody told.
pub async fn forbidden(connection: &Connection, exchange: &str) -> Option<String> {
    let exchange = ShortString::try_new(exchange).ok()?;
    let answer = tokio::time::timeout(ANSWER_LIMIT, ask(connection, exchange)).await.ok()?;
    let refusal = answer.err()?;
    (reply_code(&refusal) == Some(AMQPSoftError::ACCESSREFUSED.get_id())).then(|| plain(&refusal))
}

async fn ask(connection: &Connection, exchange: ShortString) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    // `nowait: false`: nothing is published before the broker has said that it will confirm.
    let selecting = channel.confirm_select(ConfirmSelectOptions { nowait: false });
    around("confirm_select", selecting).await?;
    let options = BasicPublishOptions {
        mandatory: false, // it is never routed
        immediate: false, // not implemented by RabbitMQ; it would close the connection
    };
    let no_time = BasicProperties::default().with_expiration(constant("no time"));
    let publishing = channel.basic_publish(exchange, constant("briefd.doctor"), options, &[], no_time);
    let confirm = around("basic_publish", publishing).await?;
    around("confirms", confirm).await.map(drop)
}
