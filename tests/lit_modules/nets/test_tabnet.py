from __future__ import annotations

import pytest
import torch

from lit_modules.nets.blocks.entmax import entmax15
from lit_modules.nets.tabnet import TabNet

tab_network = pytest.importorskip("pytorch_tabnet.tab_network")
sparsemax = pytest.importorskip("pytorch_tabnet.sparsemax")


def copy_weights(ours: TabNet, reference: torch.nn.Module) -> None:
    """From the library's names to ours."""
    source = reference.state_dict()
    target = {}
    for name in ours.state_dict():
        new = name.replace("embeddings.", "embedder.embeddings.") if name.startswith("embeddings") else "tabnet." + name
        new = new.replace("tabnet.norm.", "tabnet.encoder.initial_bn.").replace(
            "tabnet.output.", "tabnet.final_mapping."
        )
        new = new.replace("tabnet.split.", "tabnet.encoder.initial_splitter.").replace(
            "tabnet.transformers.", "tabnet.encoder.feat_transformers."
        )
        new = new.replace("tabnet.attentions.", "tabnet.encoder.att_transformers.")
        if "att_transformers" in new:
            step = new.split(".")[3]
            new = new.replace(f"{step}.0.weight", f"{step}.fc.weight").replace(f"{step}.1.norm.", f"{step}.bn.bn.")
        if ".layers." in new:
            head, _, tail = new.partition(".layers.")
            number, _, rest = tail.partition(".")
            block = f"shared.glu_layers.{number}" if int(number) < 2 else f"specifics.glu_layers.{int(number) - 2}"
            new = f"{head}.{block}.{rest.replace('norm.norm.', 'bn.bn.').replace('linear.', 'fc.')}"
        target[name] = source[new]
    ours.load_state_dict(target)


@pytest.mark.parametrize(("steps", "training"), [(1, False), (1, True), (3, False), (3, True)])
def test_the_forward_pass_is_pytorch_tabnets(steps: int, training: bool) -> None:
    torch.manual_seed(0)
    reference = tab_network.TabNet(
        12, 5, n_d=6, n_a=4, n_steps=steps, gamma=1.3, cat_idxs=[0, 1], cat_dims=[3, 2], cat_emb_dim=[1, 1],
        virtual_batch_size=16, momentum=0.02, mask_type="entmax", group_attention_matrix=torch.eye(12),
    )  # fmt: skip
    ours = TabNet(12, 5, decision=6, attention=4, steps=steps, categories={0: 3, 1: 2}, chunk=16)
    for parameter in reference.parameters():  # batch norm weights away from 1 and 0
        parameter.data += 0.1 * torch.randn_like(parameter)
    copy_weights(ours, reference)
    x = torch.randn(50, 12)
    x[:, 0], x[:, 1] = torch.randint(3, (50,)).float(), torch.randint(2, (50,)).float()
    ours.train(training)
    reference.train(training)
    torch.testing.assert_close(ours(x), reference(x)[0], rtol=1e-5, atol=1e-5)
    ours.eval()
    reference.eval()
    torch.testing.assert_close(ours(x), reference(x)[0], rtol=1e-5, atol=1e-5)  # the running statistics agree too


def test_the_sources_size_is_about_280_thousand_parameters() -> None:
    with torch.device("meta"):
        net = TabNet(1397, 206, categories={0: 3, 1: 2})
    unique = {id(p): p.numel() for p in net.parameters()}
    assert sum(unique.values()) == pytest.approx(280_000, rel=0.02)


def test_masks_are_sparse_probabilities() -> None:
    torch.manual_seed(0)
    logits, masks = TabNet(30, 4, decision=8, attention=8, steps=2).eval().with_masks(torch.randn(20, 30))
    assert logits.shape == (20, 4)
    assert masks.shape == (2, 20, 30)
    torch.testing.assert_close(masks.sum(dim=-1), torch.ones(2, 20))
    assert (masks == 0).float().mean() > 0.3


def test_entmax_is_pytorch_tabnets_and_its_gradient_is_right() -> None:
    torch.manual_seed(0)
    scores = 3 * torch.randn(40, 17, dtype=torch.float64)
    torch.testing.assert_close(entmax15(scores), sparsemax.entmax15(scores, -1), rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradcheck(entmax15, (torch.randn(3, 6, dtype=torch.float64, requires_grad=True),))
    ours, theirs = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    weight = torch.randn(40, 17, dtype=torch.float64)
    (entmax15(ours) * weight).sum().backward()
    (sparsemax.entmax15(theirs, -1) * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-9)


def test_entmax_by_hand() -> None:
    # equal scores share; a score 2 above the others takes all: (1 - tau)^2 = 1 with tau = -1 leaves 0 for the rest
    torch.testing.assert_close(entmax15(torch.zeros(1, 4)), torch.full((1, 4), 0.25))
    torch.testing.assert_close(entmax15(torch.tensor([[4.0, 2.0, 1.0]])), torch.tensor([[1.0, 0.0, 0.0]]))
