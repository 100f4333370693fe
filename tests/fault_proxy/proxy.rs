//! Forwards between clients and a server, one pair of threads a connection, and does to the
//! packets what the plan says.
//!
//! The client of a session never sends a command before it has read the answer to the last
//! one. So a fault that a command's packet draws can be left to the thread that reads the
//! server's answers: what comes next is the answer to that command, and nothing else.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use write_buffer::core::dsn::MySqlDsn;
use write_buffer::engine::clock::Clock;

use super::plan::{Fault, Moment, Plan, Random};
use super::wire::{Packet, error, session_number};

const TICK: Duration = Duration::from_millis(1);
/// Until the proxy ends.
const FOREVER: Duration = Duration::from_secs(3_600);

/// A running proxy; dropping it ends every connection through it.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    server: (String, u16),
    plan: Mutex<Plan>,
    injected: Mutex<BTreeMap<&'static str, u64>>,
    commits: AtomicU64,
    sessions: Mutex<Vec<Arc<Session>>>,
    clock: Clock,
    refused_until: Mutex<Duration>,
    closing: AtomicBool,
}

struct Session {
    client: TcpStream,
    server: TcpStream,
    number: AtomicU64,
    reply: Mutex<Reply>,
}

/// What is to happen to the bytes that the server sends next.
#[derive(Clone, Copy)]
enum Reply {
    Forward,
    Delay(Duration),
    /// So many more bytes go through, then the connection ends.
    Tear(usize),
    /// Neither the bytes nor the end of the connection are passed on.
    Silence,
}

impl Proxy {
    /// A proxy to the first host of a DSN.
    pub fn start(dsn: &MySqlDsn) -> Self {
        let (port, listener) = bind();
        let shared = Arc::new(Shared {
            server: dsn.hosts[0].clone(),
            plan: Mutex::new(Plan::calm()),
            injected: Mutex::default(),
            commits: AtomicU64::new(0),
            sessions: Mutex::default(),
            clock: Clock::start(),
            refused_until: Mutex::default(),
            closing: AtomicBool::new(false),
        });
        let listening = thread::spawn({
            let shared = Arc::clone(&shared);
            move || listen(&shared, port, listener)
        });
        Self {
            port,
            shared,
            listening: Some(listening),
        }
    }

    pub fn set_plan(&self, plan: Plan) {
        *self.shared.plan.lock().unwrap() = plan;
    }

    /// Faults so far.
    pub fn faults(&self) -> u64 {
        self.shared.injected.lock().unwrap().values().sum()
    }

    /// Faults so far, by kind.
    pub fn injected(&self) -> BTreeMap<&'static str, u64> {
        self.shared.injected.lock().unwrap().clone()
    }

    /// COMMITs that clients sent.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// The server's numbers of the sessions that stand.
    pub fn sessions(&self) -> Vec<u64> {
        let sessions = self.shared.sessions.lock().unwrap();
        let numbers = sessions.iter().map(|s| s.number.load(Ordering::Relaxed));
        numbers.filter(|n| *n != 0).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.shared
            .sessions
            .lock()
            .unwrap()
            .iter()
            .for_each(|s| s.cut());
        if let Some(thread) = self.listening.take() {
            let _ = thread.join();
        }
    }
}

/// A port below those that outgoing connections are given: while the proxy refuses
/// connections, nobody may take its port, least of all a client that connects to it.
fn bind() -> (u16, TcpListener) {
    let mut random = Random::new(write_buffer::engine::clock::seed());
    let candidates = std::iter::repeat_with(|| 10_000 + random.below(10_000) as u16).take(100);
    let mut bound = candidates.filter_map(|port| Some((port, listener(port)?)));
    bound.next().expect("one of a hundred ports is free")
}

fn listener(port: u16) -> Option<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", port)).ok()?;
    listener.set_nonblocking(true).ok()?;
    Some(listener)
}

fn listen(shared: &Arc<Shared>, port: u16, first: TcpListener) {
    let mut listening = Some(first);
    while !shared.closing.load(Ordering::Relaxed) {
        if shared.clock.now() < *shared.refused_until.lock().unwrap() {
            // A closed port refuses; an open one that is not accepted from does not.
            listening = None;
            thread::sleep(TICK);
            continue;
        }
        if listening.is_none() {
            listening = listener(port);
        }
        match listening.as_ref().map(TcpListener::accept) {
            Some(Ok((client, _))) => {
                let shared = Arc::clone(shared);
                thread::spawn(move || shared.serve(client));
            }
            Some(Err(e)) if e.kind() != ErrorKind::WouldBlock => listening = None,
            _ => thread::sleep(TICK),
        }
    }
}

impl Shared {
    fn draw(&self, moment: Moment) -> Option<Fault> {
        let fault = self.plan.lock().unwrap().strikes(moment)?;
        *self
            .injected
            .lock()
            .unwrap()
            .entry(fault.name())
            .or_default() += 1;
        Some(fault)
    }

    fn wait(&self, time: Duration) {
        let end = self.clock.now() + time;
        while self.clock.now() < end && !self.closing.load(Ordering::Relaxed) {
            thread::sleep(TICK);
        }
    }

    fn refuse(&self, time: Duration) {
        *self.refused_until.lock().unwrap() = self.clock.now() + time;
    }

    fn serve(&self, client: TcpStream) {
        let mut reply = Reply::Forward;
        match self.draw(Moment::Connection) {
            Some(Fault::TearReply(bytes)) => reply = Reply::Tear(bytes),
            Some(Fault::DelayReply(time) | Fault::Stall(time)) => self.wait(time),
            Some(Fault::Silence | Fault::BlackHole) => return self.wait(FOREVER),
            Some(Fault::Refuse(time)) => return self.refuse(time),
            Some(_) => return,
            None => {}
        }
        let Ok(server) = TcpStream::connect((&*self.server.0, self.server.1)) else {
            return;
        };
        for socket in [&client, &server] {
            let _ = socket.set_nonblocking(false);
            let _ = socket.set_nodelay(true);
        }
        let session = Arc::new(Session {
            client,
            server,
            number: AtomicU64::new(0),
            reply: Mutex::new(reply),
        });
        self.sessions.lock().unwrap().push(Arc::clone(&session));
        thread::scope(|threads| {
            threads.spawn(|| {
                let _ = self.answers(&session);
                session.cut();
            });
            let _ = self.commands(&session);
            session.cut();
        });
        let mut sessions = self.sessions.lock().unwrap();
        sessions.retain(|s| !Arc::ptr_eq(s, &session));
    }

    /// From client to server, packet by packet. Returning ends the connection.
    fn commands(&self, session: &Session) -> std::io::Result<()> {
        let (mut client, mut server) = (&session.client, &session.server);
        let mut follows = false;
        while let Some(packet) = Packet::read(&mut client)? {
            let moment = packet.moment(follows);
            follows = packet.goes_on();
            let is_commit = moment == Some(Moment::Commit);
            self.commits
                .fetch_add(u64::from(is_commit), Ordering::Relaxed);
            match moment.and_then(|m| self.draw(m)) {
                None => {}
                Some(Fault::CutBefore) => return Ok(()),
                Some(Fault::CutWithin) => return server.write_all(&packet.0[..packet.0.len() / 2]),
                Some(Fault::CutAfter) => return server.write_all(&packet.0),
                Some(Fault::LoseReply) => session.answer(Reply::Tear(0)),
                Some(Fault::TearReply(bytes)) => session.answer(Reply::Tear(bytes)),
                Some(Fault::DelayReply(time)) => session.answer(Reply::Delay(time)),
                Some(Fault::Stall(time)) => self.wait(time),
                Some(Fault::DeliverLate(time)) => {
                    session.answer(Reply::Tear(0));
                    session.client.shutdown(Shutdown::Both)?;
                    self.wait(time);
                    server.write_all(&packet.0)?;
                    // Until the server has answered.
                    let _ = server.peek(&mut [0])?;
                    return Ok(());
                }
                Some(Fault::Refuse(time)) => {
                    self.refuse(time);
                    return Ok(());
                }
                Some(Fault::Refusal(code)) => {
                    (&session.client).write_all(&error(code))?;
                    continue;
                }
                Some(silence @ (Fault::Silence | Fault::BlackHole)) => {
                    session.answer(Reply::Silence);
                    if silence == Fault::Silence {
                        session.server.shutdown(Shutdown::Both)?;
                    }
                    self.wait(FOREVER);
                    return Ok(());
                }
            }
            server.write_all(&packet.0)?;
        }
        Ok(())
    }

    /// From server to client. Returning ends the connection.
    fn answers(&self, session: &Session) -> std::io::Result<()> {
        let (mut server, mut client) = (&session.server, &session.client);
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = server.read(&mut bytes);
            if let Reply::Silence = *session.reply.lock().unwrap() {
                self.wait(FOREVER);
            }
            let length = read?;
            if length == 0 {
                return Ok(());
            }
            if session.number.load(Ordering::Relaxed) == 0 {
                let number = session_number(&bytes[..length]).unwrap_or_default();
                session.number.store(number.into(), Ordering::Relaxed);
            }
            let reply = *session.reply.lock().unwrap();
            match reply {
                Reply::Forward | Reply::Silence => {}
                Reply::Delay(time) => {
                    self.wait(time);
                    session.answer(Reply::Forward);
                }
                Reply::Tear(left) if length > left => return client.write_all(&bytes[..left]),
                Reply::Tear(left) => session.answer(Reply::Tear(left - length)),
            }
            client.write_all(&bytes[..length])?;
        }
    }
}

impl Session {
    fn answer(&self, how: Reply) {
        *self.reply.lock().unwrap() = how;
    }

    fn cut(&self) {
        // Ended already is as good.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}
