//! The broker's rules against a real RabbitMQ. Each test has exchanges and queues of its own names and deletes them.

mod connecting;
mod consuming;
mod publishing;
mod queues;
mod rig;
