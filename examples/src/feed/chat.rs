//! Two people in a room whose server is restarted every second. What one says is kept until the server
//! has acknowledged it, so it is said once more where it got lost; the server notices repeats.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fulmar::net::Net;
use fulmar::session::{Delivery, Event, MessageId, Outgoing, Received, Session};
use fulmar::{Client, Message};

use super::{Guest, Said, eager, news, start};
use crate::clock::Clock;
use crate::paint::say;

/// Lines of each, and the time between two.
const LINES: usize = 30;
const EVERY: Duration = Duration::from_millis(60);

/// Everything that was said: it outlives the server's restarts, as a database does.
type Room = Arc<Mutex<Vec<String>>>;

/// Lets Ann and Bob talk, and checks that each heard everything once.
///
/// # Cancel safety
///
/// Dropping the future ends both sessions.
pub async fn chat<N: Net>(net: impl Fn() -> N) -> ExitCode {
    match talk(net).await {
        Ok(()) => {
            say("both heard every line, once and in order\n");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn talk<N: Net>(net: impl Fn() -> N) -> Result<(), Box<dyn Error>> {
    let room = Room::default();
    let addr = start(move |guest| moderate(guest, &room))?;
    let (client, clock) = (Client::new(net()), Clock::of(net()));
    let mut people = [
        Person::join(&client, addr, "ann"),
        Person::join(&client, addr, "bob"),
    ];
    for line in 1..=LINES {
        for person in &mut people {
            person.say(line).await?;
        }
        for person in &mut people {
            person.listen(2 * line).await?;
        }
        clock.sleep(EVERY).await;
    }
    for person in people {
        person.leave().await?;
    }
    Ok(())
}

struct Person {
    name: &'static str,
    session: Session,
    sent: Vec<MessageId>,
    heard: Vec<String>,
}

impl Person {
    fn join(client: &Client, addr: SocketAddr, name: &'static str) -> Self {
        let opening = client.websocket(format!("ws://{addr}/")).reconnect(eager());
        // Each connection is told first how far the one before it had come.
        let session = opening.on_resync(|event| match event {
            Event::Resync { last_seen, .. } => {
                let from = last_seen.unwrap_or_default();
                vec![Message::text(format!("from {from}"))]
            }
            _ => Vec::new(),
        });
        Self {
            name,
            session: session.open(),
            sent: Vec::new(),
            heard: Vec::new(),
        }
    }

    async fn say(&mut self, line: usize) -> Result<(), Box<dyn Error>> {
        let outgoing = Outgoing {
            delivery: Delivery::AtLeastOnce,
            ..Outgoing::from(format!("{}: line {line}", self.name))
        };
        let sent = self.session.send(outgoing).await?;
        self.sent.push(sent.id());
        Ok(())
    }

    /// Hears until so many lines are there. To hear one's own is the acknowledgement.
    async fn listen(&mut self, lines: usize) -> Result<(), Box<dyn Error>> {
        while self.heard.len() < lines {
            let Some(Received::Message(message)) = self.session.recv().await? else {
                return Err("the room closed".into());
            };
            let text = message.as_text().unwrap_or_default();
            let (place, text) = text.split_once(' ').unwrap_or_default();
            let place: usize = place.parse()?;
            if place < self.heard.len() {
                // It waited here while its connection was lost, and was asked for again.
                continue;
            }
            if place > self.heard.len() {
                return Err(format!("{} heard line {place} too early", self.name).into());
            }
            if self.name == "ann" && place.is_multiple_of(10) {
                say(&format!("{text}\n"));
            }
            if let Some(line) = text.strip_prefix(&format!("{}: line ", self.name)) {
                let line: usize = line.parse()?;
                let id = self.sent.get(line - 1).ok_or("a line that was not said")?;
                self.session.acknowledge(*id);
            }
            self.heard.push(text.to_owned());
            self.session.saw(self.heard.len() as u64);
        }
        Ok(())
    }

    async fn leave(self) -> Result<(), Box<dyn Error>> {
        for person in ["ann", "bob"] {
            let lines = self.heard.iter().filter(|line| line.starts_with(person));
            let expected = (1..=LINES).map(|line| format!("{person}: line {line}"));
            if !lines.cloned().eq(expected) {
                return Err(format!("{} heard {person} out of order", self.name).into());
            }
        }
        let mut events = self.session.events();
        if !self.session.close().await.is_empty() {
            return Err(format!("not all that {} said was heard", self.name).into());
        }
        say(&format!("{}'s session:\n", self.name));
        while let Some(event) = events.next().await {
            if let Some(line) = news(&event) {
                say(&format!("    {line}\n"));
            }
        }
        Ok(())
    }
}

/// Takes what a guest says, and tells it what all said.
fn moderate(mut guest: Guest, room: &Room) -> io::Result<()> {
    let mut told = None;
    loop {
        match guest.listen() {
            Said::Text(text) => match text.strip_prefix("from ") {
                Some(from) => told = from.parse::<usize>().ok(),
                None => hear(room, text),
            },
            Said::Nothing => {}
            Said::Bye => return Ok(()),
        }
        while let Some(place) = told
            && let Some(line) = line_at(room, place)
        {
            guest.say(format!("{place} {line}"))?;
            told = Some(place + 1);
        }
    }
}

/// A line that was said before is a repeat.
fn hear(room: &Room, text: String) {
    if let Ok(mut room) = room.lock()
        && !room.contains(&text)
    {
        room.push(text);
    }
}

fn line_at(room: &Room, place: usize) -> Option<String> {
    room.lock().ok()?.get(place).cloned()
}
