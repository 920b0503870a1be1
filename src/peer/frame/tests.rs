//! Frames survive being cut anywhere.

use std::io::IoSlice;

use proptest::prelude::*;

use super::*;

/// A stream that comes in pieces, and takes in pieces.
#[derive(Debug, Default)]
struct Pieces {
    incoming: VecDeque<Vec<u8>>,
    /// How many bytes each write takes.
    takes: VecDeque<usize>,
    outgoing: Vec<u8>,
    writes: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut piece) = self.incoming.pop_front() else { return Poll::Ready(Ok(())) };
        let rest = piece.split_off(piece.len().min(into.remaining()));
        into.put_slice(&piece);
        if !rest.is_empty() {
            self.incoming.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let takes = self.takes.pop_front().unwrap_or(usize::MAX);
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied()).take(takes);
        let before = self.outgoing.len();
        self.outgoing.extend(bytes);
        self.writes += 1;
        Poll::Ready(Ok(self.outgoing.len() - before))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn context<R>(run: impl FnOnce(&mut Context<'_>) -> R) -> R {
    run(&mut Context::from_waker(std::task::Waker::noop()))
}

fn next(reader: &mut FrameReader, stream: &mut Pieces) -> io::Result<Option<Frame>> {
    match context(|cx| reader.poll_frame(stream, cx)) {
        Poll::Ready(frame) => frame,
        Poll::Pending => panic!("the stream always has something to say"),
    }
}

fn written(writer: &mut FrameWriter, stream: &mut Pieces) {
    assert!(context(|cx| writer.poll_flush(stream, cx)).is_ready());
    assert_eq!(writer.bytes(), 0);
}

fn cut(bytes: &[u8], sizes: &[usize]) -> VecDeque<Vec<u8>> {
    let (mut rest, mut pieces) = (bytes, VecDeque::new());
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        pieces.push_back(piece.to_vec());
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    pieces
}

fn frames() -> impl Strategy<Value = Vec<(u8, u64, Vec<Vec<u8>>)>> {
    let size = prop_oneof![4 => 0..50_usize, 2 => 0..10_000_usize, 1 => 0..600_000_usize];
    let piece = (any::<u8>(), size).prop_map(|(byte, size)| vec![byte; size]);
    let body = prop::collection::vec(piece, 0..4);
    prop::collection::vec((any::<u8>(), any::<u64>(), body), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_written_is_read(
        frames in frames(),
        reads in prop::collection::vec(1..20_000_usize, 1..20),
        takes in prop::collection::vec(1..20_000_usize, 0..20),
    ) {
        let mut stream = Pieces { takes: takes.into(), ..Pieces::default() };
        let mut writer = FrameWriter::default();
        for (mark, call, body) in &frames {
            writer.push(*mark, *call, body.iter().cloned().map(Bytes::from).collect());
        }
        prop_assert_eq!(writer.bytes() == 0, frames.is_empty());
        written(&mut writer, &mut stream);
        stream.incoming = cut(&stream.outgoing, &reads);
        let mut reader = FrameReader::default();
        for (mark, call, body) in &frames {
            let frame = next(&mut reader, &mut stream).unwrap().unwrap();
            prop_assert_eq!((frame.mark, frame.call), (*mark, *call));
            prop_assert!(frame.payload == body.concat());
        }
        prop_assert!(next(&mut reader, &mut stream).unwrap().is_none());
    }
}

#[test]
fn frames_that_wait_go_together() {
    let (mut writer, mut stream) = (FrameWriter::default(), Pieces::default());
    for call in 0..20 {
        writer.push(
            1,
            call,
            vec![Bytes::from_static(b"a"), Bytes::new(), Bytes::from_static(b"b")],
        );
    }
    written(&mut writer, &mut stream);
    assert_eq!((stream.writes, stream.outgoing.len()), (1, 20 * (HEAD_BYTES + 2)));
}

#[test]
fn a_stream_that_breaks_off_is_an_error() {
    let (mut writer, mut stream) = (FrameWriter::default(), Pieces::default());
    writer.push(1, 1, vec![Bytes::from_static(b"abc")]);
    written(&mut writer, &mut stream);
    for size in 1..stream.outgoing.len() {
        let mut stream =
            Pieces { incoming: cut(&stream.outgoing[..size], &[7]), ..Pieces::default() };
        let error = next(&mut FrameReader::default(), &mut stream).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn a_length_alone_takes_no_memory() {
    let size = PAYLOAD_BYTES_MAX;
    let length = u32::try_from(size + COUNTED_HEAD_BYTES).unwrap();
    let head = [&length.to_be_bytes()[..], &[1; 9], &[5; 100]].concat();
    let mut stream = Pieces { incoming: [head].into(), ..Pieces::default() };
    let mut reader = FrameReader::default();
    assert!(next(&mut reader, &mut stream).is_err());
    let partial = reader.partial.unwrap();
    assert_eq!((partial.size, partial.payload.len()), (size, 100));
    assert!(partial.payload.capacity() <= TRUSTED_BYTES);
    for wrong in [0, 8, length + 1, u32::MAX] {
        let head = [&wrong.to_be_bytes()[..], &[1; 9]].concat();
        let mut stream = Pieces { incoming: [head].into(), ..Pieces::default() };
        let error = next(&mut FrameReader::default(), &mut stream).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
