//! A tour of the client: a server that misbehaves, calls that survive it or say why they did not,
//! and the whole story once more in the simulator.

mod durable;
mod gist;
mod render;
mod scenes;
mod simulated;
mod story;
mod tables;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar::net::{FaultKind, Net};
use fulmar::timeline::{Ink, Paint, legend};
use fulmar::{Client, Kind, Phase, Timeouts, Url};

use self::durable::Line;
use self::scenes::{Places, Scene};
use self::simulated::{LAPTOP, Resolver};
use self::story::{App, Log, Told, story};
use crate::clock::Clock;
use crate::loopback;
use crate::paint::{for_stdout, say};

const USAGE: &str = "usage: tour            the whole tour, on loopback and in the simulator
       tour URL..      the same pictures of a GET of each URL, twice";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What the simulation draws its random numbers from.
const SEED: u64 = 0xF0_1AA5;

/// The tour that the program's arguments choose, on the network that `net` makes. On loopback it
/// takes some ten seconds, in the simulator a few milliseconds.
///
/// # Cancel safety
///
/// Dropping the future ends its calls. The server's threads end with the program.
pub async fn tour<N: Net>(net: impl Fn() -> N) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .iter()
        .any(|given| given == "-h" || given == "--help")
    {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    for argument in &arguments {
        if let Err(error) = Url::parse(argument) {
            eprintln!("tour: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    let is_same = if arguments.is_empty() {
        whole(&net).await
    } else {
        visit(&net, &arguments).await.map(|()| true)
    };
    match is_same {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tour: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Short, so that the tour is.
fn impatient() -> Timeouts {
    let second = Duration::from_secs(1);
    Timeouts::new().connect(second).dns(second).read(second)
}

/// As patient as a person at a terminal.
fn patient() -> Timeouts {
    let limit = Duration::from_secs(5);
    Timeouts::new().connect(limit).read(limit)
}

impl App {
    /// The application on some network. Only here is it known on which.
    fn on<N: Net>(net: impl Fn() -> N, timeouts: Timeouts) -> Result<Self, fulmar::Error> {
        let log = Log::default();
        let client = Client::builder(net())
            .timeouts(timeouts)
            .user_agent("fulmar-tour")
            .observer(log.observer())
            .build()?;
        let clock = Clock::of(net());
        Ok(Self { client, log, clock })
    }
}

/// Tells the story on loopback, then in the simulator. False where the two differ.
async fn whole<N: Net>(net: impl Fn() -> N) -> Outcome<bool> {
    let paint = for_stdout();
    heading(paint, "Over loopback, in real time");
    say(&legend(paint));
    let began = Instant::now();
    let real = on_loopback(net, paint).await?;
    let real_time = began.elapsed();

    heading(paint, "The same program in the simulator, in virtual time");
    let began = Instant::now();
    let (simulated, virtual_time) = in_simulator(resolver_of(&real.calls))?;
    let took = began.elapsed();

    let (calls, is_same) = tables::comparison(&real.calls, &simulated.calls, paint);
    let (session, is_same_session) = durable::comparison(&real.session, &simulated.session, paint);
    let is_same = is_same && is_same_session;
    say(&format!(
        "{calls}\n{session}\n    {} calls and a session on loopback took {:.2} s. In the simulator they took {:.2} s of virtual time\n    \
         and {} ms of real time.\n",
        real.calls.len(),
        real_time.as_secs_f64(),
        virtual_time.as_secs_f64(),
        took.as_millis(),
    ));
    let verdict = if is_same {
        paint.text(Ink::Good, "The two stories are the same, try by try.")
    } else {
        paint.text(Ink::Bad, "THE TWO STORIES DIFFER where the table says ≠.")
    };
    say(&format!("    {verdict}\n"));
    Ok(is_same)
}

/// What was told on one network.
struct Tale {
    calls: Vec<Told>,
    session: Vec<Line>,
}

async fn on_loopback<N: Net>(net: impl Fn() -> N, paint: Paint) -> Outcome<Tale> {
    let server = loopback::server();
    let other = loopback::start(Arc::clone(&server))?;
    let server = loopback::start(server)?;
    let (_kept, refused) = loopback::refused_port()?;
    let (_full, hole) = loopback::black_hole()?;
    let places = Places {
        server: format!("http://{server}"),
        other: format!("http://{other}"),
        refused: format!("http://{refused}"),
        hole: format!("http://{hole}"),
        nobody: "http://name.invalid".to_owned(),
    };
    let app = App::on(net, impatient())?;
    let calls = tell(&app, &scenes::all(&places), paint).await;
    let session = durable::orders(&app.client, &places.ledger()).await?;
    say(&format!(
        "\n{}",
        durable::block(calls.len() + 1, &session, paint)
    ));
    Ok(Tale { calls, session })
}

fn in_simulator(resolver: Resolver) -> Outcome<(Tale, Duration)> {
    let mut sim = simulated::network(SEED, resolver);
    let app = App::on(|| sim.net(LAPTOP), impatient())?;
    let places = simulated::places();
    let run = sim.run(async move {
        let calls = story(&app, &scenes::all(&places), &mut |_| ()).await;
        let session = durable::orders(&app.client, &places.ledger()).await;
        session
            .map(|session| Tale { calls, session })
            .map_err(|error| error.to_string())
    });
    if let Some(failure) = run.failure() {
        return Err(format!("the simulation did not end: {failure}").into());
    }
    let elapsed = run.elapsed();
    Ok((run.into_output()?, elapsed))
}

/// What the simulated resolver has to do to be like the real one: on a machine without a network,
/// a name that does not exist is one that cannot be asked for.
fn resolver_of(real: &[Told]) -> Resolver {
    let error = real.last().and_then(|told| told.end.as_ref().err());
    let Some(error) = error.filter(|error| error.phase() == Some(Phase::Dns)) else {
        return Resolver::Knows;
    };
    match error.fault().map(|fault| fault.kind) {
        _ if error.kind() == Kind::Timeout => Resolver::Silent,
        Some(FaultKind::NameFailed) => Resolver::Fails,
        _ => Resolver::Knows,
    }
}

/// Visits each URL twice.
async fn visit<N: Net>(net: impl Fn() -> N, urls: &[String]) -> Outcome<()> {
    let paint = for_stdout();
    say(&format!("\n{}", legend(paint)));
    let app = App::on(net, patient())?;
    let all = tell(&app, &scenes::visits(urls), paint).await;
    say(&format!("\n{}", tables::summary(&all, paint)));
    Ok(())
}

/// Tells the story and draws each call when it is over.
async fn tell(app: &App, scenes: &[Scene], paint: Paint) -> Vec<Told> {
    let mut number = 0;
    let mut draw = |told: &Told| {
        number += 1;
        say(&format!("\n{}", render::block(number, told, paint)));
    };
    story(app, scenes, &mut draw).await
}

fn heading(paint: Paint, text: &str) {
    let rule = "═".repeat(render::WIDTH.saturating_sub(text.chars().count() + 5));
    let line = paint.text(Ink::Title, format!("═══ {text} {rule}"));
    say(&format!("\n{line}\n\n"));
}

#[cfg(test)]
mod tests {
    use super::gist::Gist;
    use super::*;

    fn gists() -> Vec<Gist> {
        let (all, _) = in_simulator(Resolver::Knows).expect("the simulation ends");
        all.calls.iter().map(Gist::of).collect()
    }

    #[test]
    fn the_session_sends_the_order_again_that_its_server_died_of() {
        let (tale, _) = in_simulator(Resolver::Knows).expect("the simulation ends");
        let lines: Vec<_> = tale.session.iter().map(|line| line.what.as_str()).collect();
        let expected = [
            "connection 1",
            "apples entered, as number 1",
            "bread entered, as number 2",
            "lost: the server ended the connection (1006)",
            "rests before attempt 1",
            "lost: connection closed by the peer",
            "rests before attempt 2",
            "connection 2",
            "sends the unanswered order again",
            "coffee was there, as number 3",
            "dates entered, as number 4",
            "eggs entered, as number 5",
            "figs entered, as number 6",
            "closed, 0 unsent",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_simulated_story_has_the_ends_that_its_titles_promise() {
        let ends: Vec<_> = gists()
            .iter()
            .map(|gist| format!("{}: {}", gist.tries.len(), gist.end))
            .collect();
        let expected = [
            "1: 200, 6 B",
            "1: 200, 6 B",
            "1: 200, 195.3 KiB",
            "3: 200, 6 B",
            "1: 200, 50.0 MiB",
            "1: 200, 6 B",
            "1: 200, 6 B",
            "2: 200, 6 B",
            "1: Io in first byte, maybe processed",
            "2: 200, 6 B",
            "1: Timeout in first byte, maybe processed",
            "1: Timeout in body, processed",
            "1: Timeout in total, processed",
            "1: Io in body, processed",
            "1: Protocol in head, maybe processed",
            "3: Connect in connect, not processed",
            "2: Timeout in connect, not processed",
            "1: Connect in dns, not processed",
        ];
        assert_eq!(ends, expected);
    }

    #[test]
    fn the_simulated_story_is_the_same_every_time() {
        assert_eq!(gists(), gists());
    }
}
