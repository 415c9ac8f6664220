"""Train a small network on the handwritten digits with the libraries themselves, without a recipe.

    flowdata make digits data/digits
    flowrun -n 2 examples/train.py data/digits --epochs 5

Start here when the YAML recipe is not enough: everything it does is a few calls.
"""

import argparse

import flowdata
import flowdist
import flownn as flow
from flownn import nn
from flownn.nn import functional as F


def make_pipeline(directory: str, split: str, batch_size: int, workers: int, seed: int) -> flowdata.Pipeline:
    """Grey digits as float32 (1, 8, 8), about zero mean and unit variance, and their labels."""
    return flowdata.Pipeline(
        flowdata.OFRecordSource(f"{directory}/{split}"),
        [
            flowdata.OFRecordRawDecoder(feature="class/label", output="label", shape=(), dtype="int32"),
            flowdata.OFRecordImageDecoder(feature="encoded", color_space="GRAY"),
            flowdata.Resize(size=(8, 8)),
            flowdata.CropMirrorNormalize(mean=(78.0,), std=(96.0,)),
        ],
        batch_size=batch_size,
        order=flowdata.Shuffled() if split == "train" else flowdata.Sequential(),
        seed=seed,
        outputs=("image", "label"),
        executor="process",
        workers=workers,
    )


def main() -> None:
    """Train, evaluate after every epoch, print one line for each on rank 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64, help="over all ranks")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--workers", type=int, default=1, help="data workers per rank")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    comm = flowdist.connect()
    shard = flowdata.ShardSpec(comm.rank, comm.size)
    flow.manual_seed(args.seed)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    ddp = nn.parallel.DistributedDataParallel(model, comm=comm)
    optimizer = flow.optim.SGD(ddp.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4)

    train = make_pipeline(args.directory, "train", args.batch_size, args.workers, args.seed)
    test = make_pipeline(args.directory, "val", 256, args.workers, args.seed)
    with train.loader(shard) as batches, test.loader(shard) as test_batches:
        for epoch in range(args.epochs):
            ddp.train()
            for batch in batches:
                logits = ddp(flow.tensor(batch["image"]))
                labels = flow.tensor(batch["label"], dtype=flow.int64)
                loss = F.cross_entropy(logits, labels, reduction="sum") * (comm.size / batch.global_size)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            correct, count = evaluate(ddp, test_batches, comm)
            if comm.rank == 0:
                print(f"epoch {epoch + 1}: {correct} of {count} test digits right ({correct / count:.2%})", flush=True)
    ddp.close()


def evaluate(ddp: nn.Module, batches: flowdata.Loader, comm: flowdist.Communicator) -> tuple[int, int]:
    """Right answers and samples, summed over the ranks."""
    ddp.sync_buffers()
    ddp.eval()
    counts = flow.zeros(2, dtype=flow.int64).numpy()
    with flow.no_grad():
        for batch in batches:
            answers = ddp(flow.tensor(batch["image"])).numpy().argmax(axis=1)
            counts += ((answers == batch["label"]).sum(), batch.size)
    comm.allreduce(counts)
    return int(counts[0]), int(counts[1])


if __name__ == "__main__":
    main()
