//! tokio as openraft sees it, without chance: openraft draws when each group's timer is to begin,
//! and no group here has use for one. With draws of the system's a simulation would not repeat.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::FutureExt;
use openraft::async_runtime::{Select2, Select3, Select4};
use openraft::rt::deterministic_rng::DeterministicRng;
use openraft::type_config::AsyncRuntime;
use openraft::{OptionalSend, impls};

type Tokio = impls::TokioRuntime;
type Seeded = DeterministicRng<Tokio>;

#[derive(Debug)]
pub(crate) struct Runtime(Tokio);

impl AsyncRuntime for Runtime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <Seeded as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = <Tokio as AsyncRuntime>::Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        <Tokio as AsyncRuntime>::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        <Tokio as AsyncRuntime>::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        <Tokio as AsyncRuntime>::sleep_until(deadline)
    }

    fn timeout<R, F>(duration: Duration, future: F) -> Self::Timeout<R, F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        <Tokio as AsyncRuntime>::timeout(duration, future)
    }

    fn timeout_at<R, F>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        <Tokio as AsyncRuntime>::timeout_at(deadline, future)
    }

    fn select2<A, B>(
        a: A,
        b: B,
    ) -> impl Future<Output = Select2<A::Output, B::Output>> + OptionalSend
    where
        A: Future + OptionalSend,
        B: Future + OptionalSend,
    {
        <Tokio as AsyncRuntime>::select2(a, b)
    }

    fn select3<A, B, C>(
        a: A,
        b: B,
        c: C,
    ) -> impl Future<Output = Select3<A::Output, B::Output, C::Output>> + OptionalSend
    where
        A: Future + OptionalSend,
        B: Future + OptionalSend,
        C: Future + OptionalSend,
    {
        <Tokio as AsyncRuntime>::select3(a, b, c)
    }

    fn select4<A, B, C, D>(
        a: A,
        b: B,
        c: C,
        d: D,
    ) -> impl Future<Output = Select4<A::Output, B::Output, C::Output, D::Output>> + OptionalSend
    where
        A: Future + OptionalSend,
        B: Future + OptionalSend,
        C: Future + OptionalSend,
        D: Future + OptionalSend,
    {
        <Tokio as AsyncRuntime>::select4(a, b, c, d)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        <Tokio as AsyncRuntime>::is_panic(join_error)
    }

    /// The same draws each time.
    fn thread_rng() -> Self::ThreadLocalRng {
        let drawn = Seeded::scope(0, async { <Seeded as AsyncRuntime>::thread_rng() });
        drawn.now_or_never().expect("nothing is waited for")
    }

    fn new(threads: usize) -> Self {
        Self(<Tokio as AsyncRuntime>::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = io::Result<T>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        <Tokio as AsyncRuntime>::spawn_blocking(work)
    }
}
