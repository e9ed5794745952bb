use oxislirp::{Caller, Config, Glance, Instant, Output, Stack};

/// A guest asks for the hardware address of its router, 10.0.2.2.
const QUESTION: &[u8] = b"\xff\xff\xff\xff\xff\xff\x52\x54\x00\x12\x34\x56\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01\
    \x52\x54\x00\x12\x34\x56\x0a\x00\x02\x0f\x00\x00\x00\x00\x00\x00\x0a\x00\x02\x02";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let started = std::time::Instant::now();
    let now = || Instant::from_micros(started.elapsed().as_micros() as i64);
    let mut stack = Stack::new(Config::default())?;
    stack.input(QUESTION, Caller::Loop, now());
    stack.handle_events(Glance::Quiet, now());
    loop {
        match stack.poll_output(now()) {
            Output::Frame(frame) => println!("answer {:02x?}", &frame[22..28]),
            Output::Timeout(sleep) => return Ok(println!("sleep {sleep:?}")),
            _ => {}
        }
    }
}
