use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;

use super::*;

/// A request of some size, which is answered with its own number.
#[derive(Debug, Clone, Copy)]
struct Item(u32, usize);

impl Weight for Item {
    fn bytes(&self) -> usize {
        self.1
    }
}

struct Fixture {
    queue: Arc<Queue<Item, u32>>,
    /// The batches that left, in order.
    sent: Arc<Mutex<Vec<Vec<u32>>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A queue in front of a shard that takes 10 ms for each batch and refuses those that hold a 13.
fn fixture(bytes_max: usize) -> Fixture {
    started(READ_LANES, false, bytes_max)
}

fn started(lanes: usize, gathers: bool, bytes_max: usize) -> Fixture {
    let sent: Arc<Mutex<Vec<Vec<u32>>>> = Arc::default();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let log = sent.clone();
    let send: Send<Item, u32> = Arc::new(move |batch: Batch<Item>| {
        let numbers: Vec<u32> = batch.items.iter().map(|item| item.0).collect();
        log.lock().expect("no panic").push(numbers.clone());
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if numbers.contains(&13) { Err(Refusal::DiskFull { shard: ShardId(0) }) } else { Ok(numbers) }
        }
        .boxed()
    });
    let queue = Arc::new(Queue::start(ShardId(0), lanes, gathers, bytes_max, send, &tasks, &stop));
    Fixture { queue, sent, stop, tasks }
}

impl Fixture {
    fn sent(&self) -> Vec<Vec<u32>> {
        self.sent.lock().expect("no panic").clone()
    }

    fn spawn(&self, n: u32) -> tokio::task::JoinHandle<Result<u32, Refusal>> {
        let queue = self.queue.clone();
        tokio::spawn(async move { queue.one(Item(n, 100)).await })
    }
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn alone_a_request_goes_at_once() {
    let fixture = fixture(10_000);
    let begun = Instant::now();
    assert_eq!(fixture.queue.one(Item(1, 1)).await, Ok(1));
    assert_eq!(begun.elapsed().as_millis(), 10, "the shard's own time and nothing else");
}

#[tokio::test(start_paused = true)]
async fn what_arrives_while_two_are_under_way_leaves_together() {
    let fixture = fixture(10_000);
    let mut all = Vec::new();
    for n in 0..2 {
        all.push(fixture.spawn(n));
        pause(1).await;
    }
    all.extend((2..7).map(|n| fixture.spawn(n)));
    for (n, answer) in join_all(all).await.into_iter().enumerate() {
        assert_eq!(answer.expect("no panic"), Ok(n as u32));
    }
    assert_eq!(fixture.sent(), [vec![0], vec![1], vec![2, 3, 4, 5, 6]]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_gathers_takes_those_along_who_were_just_answered() {
    for (gathers, largest) in [(false, 2), (true, 4)] {
        let fixture = started(1, gathers, 10_000);
        let mut clients = Vec::new();
        for client in 0..4 {
            let queue = fixture.queue.clone();
            clients.push(tokio::spawn(async move {
                for n in 0..5 {
                    assert_eq!(queue.one(Item(100 * client + n, 100)).await, Ok(100 * client + n));
                    pause(1).await;
                }
            }));
            if client == 1 {
                // Two groups, left alone.
                pause(2).await;
            }
        }
        for client in join_all(clients).await {
            client.expect("no panic");
        }
        let sent = fixture.sent();
        assert_eq!(sent.concat().len(), 20);
        assert_eq!(sent.iter().map(Vec::len).max(), Some(largest), "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_given_together_stay_together_and_answers_find_their_way() {
    let fixture = fixture(1 << 20);
    let many = fixture.queue.many((100..700).map(|n| Item(n, 10)).collect());
    let (many, one) = tokio::join!(many, fixture.queue.one(Item(1000, 10)));
    assert_eq!(many, Ok((100..700).collect()));
    assert_eq!(one, Ok(1000));
    assert_eq!(fixture.sent().iter().map(Vec::len).collect::<Vec<_>>(), [600, 1], "larger than a batch, yet one");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_takes_more_later() {
    let fixture = fixture(250);
    let waiting = [fixture.spawn(1), fixture.spawn(2)];
    pause(1).await;
    let refused = fixture.queue.one(Item(3, 100)).await;
    assert_eq!(refused, Err(Refusal::Overloaded { shard: ShardId(0) }));
    for answer in join_all(waiting).await {
        answer.expect("no panic").expect("answered");
    }
    assert_eq!(fixture.queue.one(Item(4, 9999)).await, Ok(4), "an empty queue takes any request");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_goes_to_all_of_its_batch_and_to_nobody_else() {
    let fixture = fixture(10_000);
    let mut first = vec![fixture.spawn(0)];
    pause(1).await;
    first.push(fixture.spawn(1));
    pause(1).await;
    let second = [fixture.spawn(12), fixture.spawn(13)];
    for answer in join_all(first).await {
        assert!(answer.expect("no panic").is_ok());
    }
    for answer in join_all(second).await {
        assert_eq!(answer.expect("no panic"), Err(Refusal::DiskFull { shard: ShardId(0) }));
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_gone_is_not_sent_and_holds_no_room() {
    let fixture = fixture(300);
    let mut under_way = vec![fixture.spawn(0)];
    pause(1).await;
    under_way.push(fixture.spawn(1));
    pause(1).await;
    let gone = fixture.spawn(2);
    pause(1).await;
    gone.abort();
    for answer in join_all(under_way).await {
        assert!(answer.expect("no panic").is_ok());
    }
    pause(1).await;
    assert_eq!(fixture.queue.one(Item(3, 300)).await, Ok(3));
    assert!(!fixture.sent().concat().contains(&2));
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_the_lanes_and_leaves_nobody_waiting() {
    let fixture = fixture(1000);
    let mut all = Vec::new();
    for n in 1..=3 {
        all.push(fixture.spawn(n));
        pause(1).await;
    }
    fixture.stop.cancel();
    fixture.tasks.close();
    fixture.tasks.wait().await;
    all.push(fixture.spawn(4));
    let answers: Vec<_> = join_all(all).await.into_iter().map(|answer| answer.expect("no panic")).collect();
    let (sent, never_sent) = (Refusal::UnknownOutcome { shard: ShardId(0) }, fixture.queue.shared.stopping());
    assert_eq!(answers, [Err(sent.clone()), Err(sent), Err(never_sent.clone()), Err(never_sent)]);
}
