use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    bytes.extend(rest);
    bytes
}

fn told(client: Option<&str>, over_tls: Option<bool>) -> Header {
    Header {
        client: client.map(|client| client.parse().unwrap()),
        over_tls,
    }
}

const IPV4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

#[test]
fn a_header_says_whose_the_connection_is() {
    let ipv6: Vec<u8> = [[0x20, 1, 0xd, 0xb8], [0; 4], [0; 4], [0, 0, 0, 7]]
        .concat()
        .into_iter()
        .chain([0; 20])
        .collect();
    let mapped: Vec<u8> = [[0; 4], [0; 4], [0, 0, 0xff, 0xff], [192, 0, 2, 7]]
        .concat()
        .into_iter()
        .chain([0; 20])
        .collect();
    let tls = |flags: u8| [&IPV4[..], &[4, 0, 1, 0, TLS, 0, 5, flags, 0, 0, 0, 0]].concat();
    for (bytes, header) in [
        (
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec(),
            told(Some("192.0.2.7"), None),
        ),
        (
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".to_vec(),
            told(Some("255.255.255.255"), None),
        ),
        (
            b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n".to_vec(),
            told(Some("2001:db8::7"), None),
        ),
        (
            b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n".to_vec(),
            told(Some("192.0.2.7"), None),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), told(None, None)),
        (
            b"PROXY UNKNOWN ffff::1 what ever\r\n".to_vec(),
            told(None, None),
        ),
        (v2(0x21, 0x11, &IPV4), told(Some("192.0.2.7"), None)),
        (v2(0x21, 0x21, &ipv6), told(Some("2001:db8::7"), None)),
        (v2(0x21, 0x21, &mapped), told(Some("192.0.2.7"), None)),
        (v2(0x21, 0x11, &tls(1)), told(Some("192.0.2.7"), Some(true))),
        (
            v2(0x21, 0x11, &tls(4)),
            told(Some("192.0.2.7"), Some(false)),
        ),
        // The peer's own connection: whatever else stands there is discarded.
        (v2(0x20, 0x00, &[]), told(None, None)),
        (v2(0x20, 0x11, &IPV4), told(None, None)),
        (v2(0x20, 0xff, &[1]), told(None, None)),
        (v2(0x21, 0x00, &[1, 2, 3]), told(None, None)),
    ] {
        let length = bytes.len();
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        for cut in 0..length {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut} bytes of {shown:?}");
        }
        let more = [&bytes[..], b"PROXY "].concat();
        assert_eq!(parse(&more), Ok(Some((header, length))), "{shown:?}");
    }
}

#[test]
fn what_is_malformed_is_refused() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(long.len(), 108);
    let fits = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!(parse(fits.as_bytes()), Ok(Some((told(None, None), 107))));
    let mut cut = v2(0x21, 0x11, &IPV4);
    cut[15] = 11;
    let tlv = |tail: &[u8]| v2(0x21, 0x11, &[&IPV4[..], tail].concat());
    let mut huge = SIGNATURE.to_vec();
    huge.extend([0x21, 0x11, 0xff, 0xff]);
    for (bytes, fault) in [
        (long.into_bytes(), Fault::TooLong),
        (vec![b'x'; 40], Fault::None),
        (b"GET / HTTP/1.1\r\n".to_vec(), Fault::None),
        (b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), Fault::None),
        (b" PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), Fault::None),
        (b"PROXY\r\n".to_vec(), Fault::None),
        (b"\x16\x03\x01".to_vec(), Fault::None),
        (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), Fault::None),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n".to_vec(), Fault::Line),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n".to_vec(),
            Fault::Line,
        ),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n".to_vec(),
            Fault::Line,
        ),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n".to_vec(), Fault::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n".to_vec(), Fault::Line),
        (b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n".to_vec(), Fault::Line),
        (
            b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n".to_vec(),
            Fault::Line,
        ),
        (b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), Fault::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n".to_vec(), Fault::Line),
        (b"PROXY TCP4 1.2.3.4\t1.2.3.4 1 2\r\n".to_vec(), Fault::Line),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), Fault::Line),
        (b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), Fault::Line),
        (b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n".to_vec(), Fault::Line),
        (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), Fault::Line),
        (b"PROXY UNKNOWNS\r\n".to_vec(), Fault::Line),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\nx\r\n".to_vec(),
            Fault::Line,
        ),
        (v2(0x11, 0x11, &IPV4), Fault::Command),
        (v2(0x22, 0x11, &IPV4), Fault::Command),
        (v2(0x31, 0x11, &IPV4), Fault::Command),
        (v2(0x21, 0x12, &IPV4), Fault::Family),
        (v2(0x21, 0x31, &[0; 216]), Fault::Family),
        (v2(0x21, 0x41, &IPV4), Fault::Family),
        (v2(0x21, 0x11, &IPV4[..11]), Fault::Length),
        (v2(0x21, 0x21, &[0; 35]), Fault::Length),
        (cut, Fault::Length),
        (tlv(&[4]), Fault::Length),
        (tlv(&[4, 0]), Fault::Length),
        (tlv(&[4, 0, 2, 0]), Fault::Length),
        (tlv(&[TLS, 0, 0]), Fault::Length),
        (tlv(&[TLS, 0, 1, 1, TLS, 0, 1, 0]), Fault::Length),
        (huge, Fault::TooLong),
    ] {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(parse(&bytes), Err(fault), "{shown:?}");
    }
}

/// What is read of a connection over which these bytes come in pieces, and what is left behind it.
fn over_a_socket(bytes: &[u8], piece: usize) -> (io::Result<Header>, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let send = async {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.set_nodelay(true).unwrap();
            for piece in bytes.chunks(piece) {
                if client.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let _ = client.shutdown().await;
            client
        };
        let receive = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let header = read(&mut stream).await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            (header, rest)
        };
        let (_client, received) = tokio::join!(send, receive);
        received
    })
}

#[test]
fn nothing_behind_the_header_is_read_in_pieces_of_any_size() {
    let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec();
    for header in [line, v2(0x21, 0x11, &IPV4)] {
        for piece in [1, 2, 13, 4096] {
            let sent = [&header[..], b"PROXY TCP4 and more"].concat();
            let (read, rest) = over_a_socket(&sent, piece);
            assert_eq!(read.unwrap(), told(Some("192.0.2.7"), None), "{piece}");
            assert_eq!(rest, b"PROXY TCP4 and more", "in pieces of {piece}");
            let (cut, _) = over_a_socket(&header[..header.len() - 1], piece);
            assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}

fn anything() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..600);
    prop_oneof![
        bytes(),
        bytes().prop_map(|rest| [&WORD[..], &rest].concat()),
        "[A-Z0-9.: ]{0,110}(\r\n)?".prop_map(|text| format!("PROXY {text}").into_bytes()),
        bytes().prop_map(|rest| [&SIGNATURE[..], &rest].concat()),
        (any::<u8>(), any::<u8>(), bytes())
            .prop_map(|(command, family, rest)| { v2(0x20 | (command & 1), family & 0x33, &rest) }),
    ]
}

proptest! {
    /// However it is cut, one reading: what a shorter piece decides stays decided.
    #[test]
    fn no_bytes_make_it_panic_and_no_more_bytes_change_its_mind(bytes in anything()) {
        let whole = parse(&bytes);
        for cut in 0..bytes.len() {
            match parse(&bytes[..cut]) {
                Ok(None) => {}
                decided => prop_assert_eq!(&decided, &whole, "{} bytes", cut),
            }
        }
        if let Ok(Some((_, length))) = whole {
            prop_assert!(length <= bytes.len() && length <= LONGEST);
        }
        if bytes.len() >= LONGEST {
            prop_assert_ne!(whole, Ok(None), "it would wait for ever");
        }
    }

    #[test]
    fn what_is_written_is_read(source in any::<IpAddr>(), ports in any::<(u16, u16)>(), binary in any::<bool>()) {
        let (word, other) = match source {
            IpAddr::V4(_) => ("TCP4", IpAddr::from([127, 0, 0, 1])),
            IpAddr::V6(_) => ("TCP6", IpAddr::V6(Ipv6Addr::LOCALHOST)),
        };
        let bytes = if binary {
            let octets = |address| match address {
                IpAddr::V4(address) => Ipv4Addr::octets(&address).to_vec(),
                IpAddr::V6(address) => Ipv6Addr::octets(&address).to_vec(),
            };
            let family = if source.is_ipv4() { 0x11 } else { 0x21 };
            let ports = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
            v2(0x21, family, &[octets(source), octets(other), ports].concat())
        } else {
            format!("PROXY {word} {source} {other} {} {}\r\n", ports.0, ports.1).into_bytes()
        };
        let (header, length) = parse(&bytes).unwrap().unwrap();
        prop_assert_eq!(header.client, Some(source.to_canonical()));
        prop_assert_eq!(length, bytes.len());
    }
}
