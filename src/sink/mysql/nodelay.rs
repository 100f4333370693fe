//! TCP_NODELAY, which sqlx neither sets nor lets others set.
//!
//! Without it the kernel keeps the last, partly filled segment of a packet back until the
//! server has acknowledged the ones before, and a server that waits for a request's end
//! delays that acknowledgement: 40 ms on Linux, more than the transaction itself.

#![allow(unsafe_code)]

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::net::getpeername;
use rustix::net::sockopt::{set_tcp_nodelay, tcp_nodelay};

/// Sets it for the process's connections to that port. `false` when one of them does not have
/// it afterwards, or none was found: then packets are to be small.
#[must_use]
pub fn set(port: u16) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return false;
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // Collected first: looking at the directory opens a descriptor, too.
    let numbers: Vec<RawFd> = numbers.collect();
    let set: Vec<_> = numbers
        .into_iter()
        .filter_map(|number| set_for(number, port))
        .collect();
    !set.is_empty() && set.into_iter().all(|is_set| is_set)
}

/// `None` for what is no connection to that port.
fn set_for(number: RawFd, port: u16) -> Option<bool> {
    // SAFETY: the descriptor was open a moment ago and is used for three calls, which neither
    // close nor keep it. If another thread has closed it meanwhile they fail; if it has opened
    // something else under its number they do nothing, unless that is a connection to the same
    // port, which is to have the option as well.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    let peer = SocketAddr::try_from(getpeername(socket).ok()??).ok()?;
    (peer.port() == port).then(|| {
        set_tcp_nodelay(socket, true).is_ok() && tcp_nodelay(socket).is_ok_and(|is_set| is_set)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_to_the_port_have_it_and_no_others() {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (server, other) = (listen(), listen());
        let port = server.local_addr().unwrap().port();
        assert!(!set(port), "there is no connection yet");
        let connection = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let apart = TcpStream::connect(other.local_addr().unwrap()).unwrap();
        assert!(set(port));
        assert!(connection.nodelay().unwrap());
        assert!(!apart.nodelay().unwrap());
    }
}
