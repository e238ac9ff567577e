//! Clauses of [`Transport`], of one on whose way all is well.

use bytes::Bytes;
use mailhorn_events::Generation;
use tokio::time::timeout;
use uuid::Uuid;

use super::PATIENCE;
use crate::cluster::Transport;

const MIB: usize = 1024 * 1024;
const ANN: Generation = Generation(Uuid::from_u128(1));
const BOB: Generation = Generation(Uuid::from_u128(2));

/// A transport under test, with nothing on its way.
pub trait TransportPlace {
    /// The transport.
    type Transport: Transport;

    /// The transport.
    fn transport(&self) -> &Self::Transport;

    /// Small frames that wait for one process at most.
    fn frames_max(&self) -> usize;
}

fn frame(number: usize) -> Bytes {
    Bytes::from(format!("frame {number}\r\n\0\u{ff}"))
}

async fn send<P: TransportPlace>(place: &P, to: Generation, frame: Bytes) {
    place.transport().send(to, frame).await.unwrap();
}

/// The next `count` frames for a process.
async fn receive<P: TransportPlace>(place: &P, me: Generation, count: usize) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let more = timeout(PATIENCE, place.transport().receive(me)).await;
        frames.extend(more.expect("frames come").unwrap());
    }
    frames
}

/// Frames come in the order in which they were sent, each once, as they were.
pub async fn frames_come_in_order<P: TransportPlace>(place: &P) {
    let sent: Vec<Bytes> = (0..40).map(frame).collect();
    for frame in &sent[..20] {
        send(place, ANN, frame.clone()).await;
    }
    assert_eq!(receive(place, ANN, 20).await, sent[..20]);
    for frame in &sent[20..] {
        send(place, ANN, frame.clone()).await;
    }
    assert_eq!(receive(place, ANN, 20).await, sent[20..]);
}

/// What was sent before anybody received is there when somebody does; a frame may be empty.
pub async fn frames_wait_for_their_receiver<P: TransportPlace>(place: &P) {
    send(place, ANN, Bytes::new()).await;
    send(place, ANN, frame(1)).await;
    assert_eq!(receive(place, ANN, 2).await, [Bytes::new(), frame(1)]);
}

/// Who waits gets a frame as it comes, and goes on waiting where none does.
pub async fn a_wait_ends_when_a_frame_comes<P: TransportPlace>(place: &P) {
    for number in 0..3 {
        let waiting = receive(place, ANN, 1);
        let sending = async {
            // Now and then the frame comes first; most times the receiver waits for it.
            tokio::task::yield_now().await;
            send(place, ANN, frame(number)).await;
        };
        let (came, ()) = tokio::join!(waiting, sending);
        assert_eq!(came, [frame(number)]);
    }
    let waiting = place.transport().receive(ANN);
    let waited = timeout(std::time::Duration::from_millis(50), waiting).await;
    assert!(waited.is_err(), "nothing was sent: {waited:?}");
    send(place, ANN, frame(9)).await;
    assert_eq!(
        receive(place, ANN, 1).await,
        [frame(9)],
        "a wait given up costs nothing"
    );
}

/// Two receivers get what is theirs, and neither waits for the other.
pub async fn receivers_are_apart<P: TransportPlace>(place: &P) {
    let waiting = receive(place, BOB, 1);
    let other = async {
        for number in 0..5 {
            send(place, ANN, frame(number)).await;
            assert_eq!(receive(place, ANN, 1).await, [frame(number)]);
        }
        send(place, BOB, frame(7)).await;
    };
    let (came, ()) = tokio::join!(waiting, other);
    assert_eq!(came, [frame(7)]);
}

/// Frames of a mebibyte come as they were.
pub async fn large_frames_come_whole<P: TransportPlace>(place: &P) {
    let large = |fill: u8| Bytes::from((0..MIB).map(|at| fill.wrapping_add(at as u8)).collect::<Vec<_>>());
    let sent: Vec<Bytes> = (0..3).map(large).collect();
    for frame in &sent {
        send(place, ANN, frame.clone()).await;
    }
    let came = receive(place, ANN, 3).await;
    assert!(came == sent, "not what was sent");
}

/// For one that doesn't receive so many frames wait and no more: the oldest are lost, what is left is in order.
pub async fn what_waits_is_bounded<P: TransportPlace>(place: &P) {
    let (kept, over) = (place.frames_max(), 10);
    for number in 0..kept + over {
        send(place, ANN, frame(number)).await;
    }
    let came = receive(place, ANN, kept).await;
    let expected: Vec<Bytes> = (over..kept + over).map(frame).collect();
    assert!(came == expected, "{} frames from {:?}", came.len(), came.first());
    send(place, ANN, frame(0)).await;
    assert_eq!(receive(place, ANN, 1).await, [frame(0)]);
}
