//! Frames of the connection that arrive: SETTINGS, PING, GOAWAY, WINDOW_UPDATE (RFC 9113 section 6).

use super::core::{Core, Fatal, Ping, Role};
use super::frames::{self, Head, MAX_PAYLOAD, MAX_WINDOW, Reason, kind, number, setting};
use super::streams::Broken;
use super::windows::widen;

impl Core {
    pub(super) fn settings_come(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.stream != 0 {
            return Err(Fatal::PROTOCOL);
        }
        let (settings, rest) = payload.as_chunks::<6>();
        let ack = head.has(frames::ACK);
        if !rest.is_empty() || ack && !settings.is_empty() {
            return Err(Fatal::Protocol(Reason::FRAME_SIZE_ERROR));
        }
        if ack {
            return if self.peer.settled { Ok(()) } else { Err(Fatal::PROTOCOL) };
        }
        if !self.peer.settled {
            // Without a word on it there is no limit.
            self.peer.streams = u32::MAX;
        }
        for [n0, n1, v0, v1, v2, v3] in settings {
            self.setting(u16::from_be_bytes([*n0, *n1]), u32::from_be_bytes([*v0, *v1, *v2, *v3]))?;
        }
        self.settle();
        self.answer(kind::SETTINGS, frames::ACK, 0, &[])
    }

    fn setting(&mut self, name: u16, value: u32) -> Result<(), Fatal> {
        match name {
            setting::HEADER_TABLE_SIZE => self.encoder.set_table_size(value),
            // A server must not push, nor offer to (RFC 9113 section 6.5.2).
            setting::ENABLE_PUSH if value > u32::from(self.role == Role::Server) => {
                return Err(Fatal::PROTOCOL);
            }
            setting::MAX_CONCURRENT_STREAMS => self.peer.streams = value,
            setting::INITIAL_WINDOW_SIZE => return self.peer_window(value),
            setting::MAX_FRAME_SIZE if !(MAX_PAYLOAD as u32..1 << 24).contains(&value) => {
                return Err(Fatal::PROTOCOL);
            }
            setting::ENABLE_CONNECT_PROTOCOL if value > 1 || value == 0 && self.peer.connect => {
                return Err(Fatal::PROTOCOL);
            }
            setting::ENABLE_CONNECT_PROTOCOL => self.peer.connect = value == 1,
            _ => {}
        }
        Ok(())
    }

    /// The window of all streams of the peer changes (RFC 9113 section 6.9.2).
    fn peer_window(&mut self, size: u32) -> Result<(), Fatal> {
        if size > MAX_WINDOW {
            return Err(Fatal::Protocol(Reason::FLOW_CONTROL_ERROR));
        }
        let by = i64::from(size).saturating_sub(i64::from(self.peer.window));
        self.peer.window = size;
        let mut good = true;
        for entry in self.streams.each() {
            good &= widen(&mut entry.send_window, by);
            entry.wake();
        }
        if good { Ok(()) } else { Err(Fatal::Protocol(Reason::FLOW_CONTROL_ERROR)) }
    }

    pub(super) fn ping_comes(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.stream != 0 {
            return Err(Fatal::PROTOCOL);
        }
        let told: [u8; 8] = payload.try_into().map_err(|_| Fatal::Protocol(Reason::FRAME_SIZE_ERROR))?;
        if !head.has(frames::ACK) {
            return self.answer(kind::PING, frames::ACK, 0, payload);
        }
        let is = |ping: &Ping| *ping as u64 == u64::from_be_bytes(told);
        if let Some(ping) = [Ping::Alive, Ping::Going].into_iter().find(is) {
            self.answered = Some(ping);
        }
        Ok(())
    }

    pub(super) fn goaway_comes(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.stream != 0 {
            return Err(Fatal::PROTOCOL);
        }
        let last = payload.get(..8).and_then(|head| head.get(..4)).and_then(number);
        let last = last.ok_or(Fatal::Protocol(Reason::FRAME_SIZE_ERROR))? & 0x7fff_ffff;
        self.peer_last = Some(self.peer_last.unwrap_or(last).min(last));
        if self.role == Role::Client {
            for entry in self.streams.each().filter(|entry| entry.id > last) {
                entry.fail(Broken::Unprocessed);
            }
        }
        Ok(())
    }

    pub(super) fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        let by = number(payload).ok_or(Fatal::Protocol(Reason::FRAME_SIZE_ERROR))? & 0x7fff_ffff;
        if head.stream == 0 {
            if by == 0 {
                return Err(Fatal::PROTOCOL);
            }
            if !widen(&mut self.send_window, i64::from(by)) {
                return Err(Fatal::Protocol(Reason::FLOW_CONTROL_ERROR));
            }
            self.wake_next();
            return Ok(());
        }
        if self.is_idle(head.stream) {
            return Err(Fatal::PROTOCOL);
        }
        let Some((key, entry)) = self.streams.find(head.stream) else {
            return if by == 0 { Err(Fatal::PROTOCOL) } else { Ok(()) };
        };
        if by == 0 && entry.is_over() {
            return Err(Fatal::PROTOCOL);
        }
        if by == 0 {
            self.reset(key, Reason::PROTOCOL_ERROR, Broken::Protocol);
        } else if widen(&mut entry.send_window, i64::from(by)) {
            entry.wake();
        } else {
            self.reset(key, Reason::FLOW_CONTROL_ERROR, Broken::Protocol);
        }
        Ok(())
    }
}
