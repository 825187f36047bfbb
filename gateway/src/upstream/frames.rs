//! Where a WebSocket's frames begin and end (RFC 6455, section 5.2), so that a stream of them may
//! be ended between two.

/// Follows one direction of a WebSocket.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; 10],
    have: usize,
    /// Of the frame's mask and payload, so many bytes are to come.
    left: u64,
    closed: bool,
}

/// The opcode of a close frame (section 5.5.1).
const CLOSE: u8 = 8;
/// "Going away", such as a server that goes down (section 7.4.1).
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

impl Frames {
    /// Bytes that have passed.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let here = usize::try_from(self.wanted().max(1)).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at_checked(here).unwrap_or((bytes, &[]));
            self.step(now);
            bytes = later;
        }
    }

    /// How many more bytes may pass before the frame that they are in ends, or before it is known
    /// how long it is; 0 between two frames.
    pub(super) fn wanted(&self) -> u64 {
        if self.left > 0 {
            return self.left;
        }
        match self.have {
            0 => 0,
            have => (self.head_length() - have) as u64,
        }
    }

    /// Whether nothing may follow any more.
    pub(super) const fn closed(&self) -> bool {
        self.closed
    }

    /// Bytes that do not reach beyond what is wanted, or the first of a frame.
    fn step(&mut self, bytes: &[u8]) {
        if self.left > 0 {
            self.left -= (bytes.len() as u64).min(self.left);
            return;
        }
        for byte in bytes {
            if let Some(place) = self.head.get_mut(self.have) {
                *place = *byte;
                self.have += 1;
            }
        }
        if self.have >= 2 && self.have == self.head_length() {
            let [first, second, ..] = self.head;
            self.closed |= first & 0x0f == CLOSE;
            self.left = self.payload() + if second & 0x80 == 0 { 0 } else { 4 };
            self.have = 0;
        }
    }

    /// Without the mask: 2, 4 or 10 bytes.
    const fn head_length(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let [_, second, ..] = self.head;
        match second & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    fn payload(&self) -> u64 {
        let [_, second, rest @ ..] = self.head;
        match second & 0x7f {
            126 => {
                let [high, low, ..] = rest;
                u64::from(u16::from_be_bytes([high, low]))
            }
            // The highest bit must be 0; what breaks that rule is the peers' to refuse.
            127 => u64::from_be_bytes(rest) & (u64::MAX >> 1),
            short => u64::from(short),
        }
    }
}

/// A close frame that says "going away": as a server sends it, or as a client must, masked.
pub(super) fn going_away(masked: bool) -> Vec<u8> {
    let [high, low] = GOING_AWAY;
    if !masked {
        return vec![0x80 | CLOSE, 2, high, low];
    }
    let mask: [u8; 4] = crate::secret::random();
    let [one, two, three, four] = mask;
    vec![
        0x80 | CLOSE,
        0x82,
        one,
        two,
        three,
        four,
        high ^ one,
        low ^ two,
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..=125 => frame.push(mask | u8::try_from(short).unwrap()),
            middle @ 126..=0xffff => {
                frame.push(mask | 126);
                frame.extend(u16::try_from(middle).unwrap().to_be_bytes());
            }
            long => {
                frame.push(mask | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        frame.extend(payload);
        frame
    }

    proptest! {
        #[test]
        fn the_end_of_every_frame_is_seen_in_pieces_of_any_size(
            sizes in prop::collection::vec(prop_oneof![0_usize..130, 65_530_usize..65_540], 1..6),
            masked in any::<bool>(),
            piece in 1_usize..5000,
        ) {
            let mut frames = Frames::default();
            for size in sizes {
                let bytes = frame(2, masked, &vec![0x88; size]);
                let mut passed = 0;
                for piece in bytes.chunks(piece) {
                    prop_assert_eq!(frames.wanted() == 0, passed == 0);
                    prop_assert!(frames.wanted() <= (bytes.len() - passed) as u64);
                    frames.follow(piece);
                    passed += piece.len();
                }
                prop_assert_eq!(frames.wanted(), 0);
                prop_assert!(!frames.closed());
            }
            frames.follow(&frame(CLOSE, masked, &[]));
            prop_assert!(frames.closed());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Frames::default().follow(&bytes);
        }
    }

    #[test]
    fn going_away_is_one_frame_of_two_bytes() {
        assert_eq!(going_away(false), [0x88, 2, 3, 0xe9]);
        let masked = going_away(true);
        assert_eq!([masked[6] ^ masked[2], masked[7] ^ masked[3]], [3, 0xe9]);
        for frame in [going_away(false), masked] {
            let mut frames = Frames::default();
            frames.follow(&frame);
            assert!(frames.closed() && frames.wanted() == 0);
        }
    }
}
