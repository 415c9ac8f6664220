"""The registered networks: names of parameters, sizes, and that they learn."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import models, nn, optim

# Numbers of trainable parameters as torchvision states them.
SIZES = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160}
# A few of torchvision's names and shapes.
KEYS = {
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.num_batches_tracked": (),
        "layer1.1.conv2.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer4.1.bn2.running_var": (512,),
        "fc.weight": (1000, 512),
    },
    "resnet50": {
        "layer1.0.conv3.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.bias": (256,),
        "layer3.5.bn3.weight": (1024,),
        "layer4.0.conv2.weight": (512, 512, 3, 3),
        "fc.bias": (1000,),
    },
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_names_are_torchvisions(name: str) -> None:
    model = models.create(name)
    assert sum(p.data.size for p in model.parameters()) == SIZES[name]
    state = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert KEYS.get(name, {}).items() <= state.items()
    first = ["conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked"]
    assert list(state)[:7] == [*first, "layer1.0.conv1.weight"]


NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


@pytest.mark.parametrize("name", BLOCKS)
def test_all_names_are_torchvisions(name: str) -> None:
    deep = name in ("resnet50", "resnet101")

    def unit(path: str, conv: str, norm: str) -> list[str]:
        return [f"{path}{conv}.weight", *(f"{path}{norm}.{kind}" for kind in NORM)]

    expected = unit("", "conv1", "bn1")
    for stage, count in enumerate(BLOCKS[name], start=1):
        for index in range(count):
            path = f"layer{stage}.{index}."
            for number in (1, 2, 3) if deep else (1, 2):
                expected += unit(path, f"conv{number}", f"bn{number}")
            if index == 0 and (deep or stage > 1):
                expected += unit(f"{path}downsample.", "0", "1")
    assert list(models.create(name).state_dict()) == [*expected, "fc.weight", "fc.bias"]


@pytest.mark.parametrize(("name", "side", "out"), [("resnet18", 32, 1), ("resnet_small", 8, 2), ("resnet_small", 9, 3)])
def test_shapes(name: str, side: int, out: int) -> None:
    model: Any = models.create(name, num_classes=5, in_channels=2)
    found = []
    model.avgpool.register_forward_pre_hook(lambda module, args: found.append(args[0].shape[2:]))
    assert model(flow.randn(2, 2, side, side)).shape == (2, 5)
    assert found == [(out, out)]


def test_small_resnet_takes_its_arguments() -> None:
    model: Any = models.create("resnet_small", widths=[8, 16], blocks=[2, 1], dropout=0.3, zero_init_residual=True)
    assert [len(model.layer1), len(model.layer2), model.fc.in_features] == [2, 1, 16]
    assert not hasattr(model, "layer3")
    assert model.dropout.p == 0.3
    assert not model.layer1[0].bn2.weight.data.any()
    bottleneck = models.ResNet(models.Bottleneck, (1,), widths=(8,), small_stem=True, zero_init_residual=True)
    assert not bottleneck.layer1[0].bn3.weight.data.any()
    with pytest.raises(ValueError, match="as many widths as blocks"):
        models.create("resnet_small", widths=[8], blocks=[1, 1])


def test_lenet() -> None:
    assert models.create("lenet")(flow.randn(2, 1, 28, 28)).shape == (2, 10)
    assert models.create("lenet", num_classes=3, in_channels=3, image_size=32)(flow.randn(1, 3, 32, 32)).shape == (1, 3)
    with pytest.raises(ValueError, match="image_size of at least 12 pixels, got 11"):
        models.create("lenet", image_size=11)


def test_unknown_names_and_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="model 'resnet_smal': did you mean 'resnet_small'"):
        models.create("resnet_smal")
    with pytest.raises(ValueError, match=r"model 'resnet18': got an unexpected keyword argument 'classes'; it takes"):
        models.create("resnet18", classes=3)
    with pytest.raises(ValueError, match="there already is a model 'lenet'"):
        models.register("lenet")(models.LeNet)
    vits = ["vit", "vit_base", "vit_small", "vit_tiny"]
    assert models.names() == ["gpt", "lenet", "resnet101", "resnet18", "resnet34", "resnet50", "resnet_small", *vits]


def separable(rng: np.random.Generator, count: int) -> tuple[Any, Any]:
    """Noise with a bright quarter, which is the class."""
    target = rng.integers(0, 4, count)
    images = rng.standard_normal((count, 1, 8, 8)).astype(np.float32)
    for image, label in zip(images, target, strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        image[0, top : top + 4, left : left + 4] += 2.5
    return images, target


def test_a_small_resnet_learns_and_repeats_bit_for_bit() -> None:
    def run() -> tuple[list[float], Any]:
        flow.manual_seed(0)
        model = models.create("resnet_small", num_classes=4, in_channels=1, widths=(8, 16), blocks=(1, 1), dropout=0.1)
        sgd = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
        schedule = optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=30)
        rng = np.random.default_rng(0)
        losses = []
        for _ in range(30):
            images, target = separable(rng, 32)
            loss = nn.CrossEntropyLoss()(model(flow.tensor(images)), flow.tensor(target))
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            schedule.step()
            losses.append(loss.item())
        model.eval()
        images, target = separable(rng, 200)
        with flow.no_grad():
            return losses, (model(flow.tensor(images)).data.argmax(axis=1) == target).mean()

    losses, accuracy = run()
    assert accuracy >= 0.95
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])
    assert run() == (losses, accuracy)


@pytest.mark.torch
def test_a_training_step_of_resnet18_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")

    class Block(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, channels: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1 = torch.nn.Conv2d(channels, width, 3, stride, 1, bias=False)
            self.bn1 = torch.nn.BatchNorm2d(width)
            self.conv2 = torch.nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = torch.nn.BatchNorm2d(width)
            self.downsample = None
            if stride > 1 or channels != width:
                shortcut = torch.nn.Conv2d(channels, width, 1, stride, bias=False)
                self.downsample = torch.nn.Sequential(shortcut, torch.nn.BatchNorm2d(width))

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            return (y + (x if self.downsample is None else self.downsample(x))).relu()

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = torch.nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = torch.nn.BatchNorm2d(64)
            channels = 64
            for number, width in enumerate((64, 128, 256, 512), start=1):
                blocks = [Block(channels, width, 2 if number > 1 else 1), Block(width, width, 1)]
                setattr(self, f"layer{number}", torch.nn.Sequential(*blocks))
                channels = width
            self.fc = torch.nn.Linear(512, 7)

        def forward(self, x: Any) -> Any:
            x = torch.nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
            for number in range(1, 5):
                x = getattr(self, f"layer{number}")(x)
            return self.fc(x.mean((2, 3)))

    theirs, ours = Net().double(), models.create("resnet18", num_classes=7).double()
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict({name: torch.from_numpy(v.numpy()) for name, v in ours.state_dict().items()}, strict=True)
    rng = np.random.default_rng(0)
    images, target = rng.standard_normal((3, 3, 40, 33)), np.array([0, 6, 2])
    loss = nn.CrossEntropyLoss()(ours(flow.tensor(images)), flow.tensor(target))
    expected = torch.nn.CrossEntropyLoss()(theirs(torch.tensor(images)), torch.tensor(target))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    loss.backward()
    expected.backward()
    for (name, one), (other_name, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other_name
        scale = abs(other.grad.numpy()).max()
        np.testing.assert_allclose(one.grad.data, other.grad.numpy(), rtol=1e-7, atol=1e-9 * scale)


@pytest.mark.parametrize("block", [models.BasicBlock, models.Bottleneck])
def test_norms_before_relu_are_one_op_with_it_and_the_network_computes_the_same(block: Any) -> None:
    def gradients(listening: bool) -> dict[str, Any]:
        flow.manual_seed(0)
        model: Any = models.ResNet(block, (1, 1), 5, widths=(8, 16), small_stem=True).double()
        heard: list[str] = []
        for name, module in model.named_modules():
            if listening and isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(lambda *_, name=name: heard.append(name))
        y = model(flow.tensor(np.random.default_rng(0).standard_normal((4, 3, 8, 8))))
        y.backward(np.random.default_rng(1).standard_normal((4, 5)))
        ops, edges = set(), [y.grad_fn]
        while edges:
            node = edges.pop()
            ops.add(node.op)
            edges += [each for each in node.edges if isinstance(each, flow.autograd.Node)]
        if listening:
            assert len(heard) == sum(isinstance(each, nn.BatchNorm2d) for each in model.modules())
        return {"ops": ops, "y": y.data} | {name: p.grad.data for name, p in model.named_parameters()}

    one, other = gradients(False), gradients(True)
    for name, value in other.items():
        if name != "ops":
            np.testing.assert_allclose(one[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
