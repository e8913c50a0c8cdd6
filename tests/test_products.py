"Linear layers by oneDNN against the same products in floats of 64 bits; what is not one of them is left alone"
import numpy as np, pytest
from rankwb.core.products import has_onednn, pack

torch = pytest.importorskip('torch')
packed = lambda layer: layer.weight.layout!=torch.strided

def both(m, n, bias=True, seed=0):
    "A packed layer, and what it should say"
    torch.manual_seed(seed)
    layer = torch.nn.Linear(m, n, bias=bias)
    w,b = layer.weight.detach().double(),layer.bias.detach().double() if bias else 0
    return pack(layer),lambda x: x.double()@w.T+b

@pytest.mark.parametrize('bias', [True,False])
@pytest.mark.parametrize('m,n', [(1,1), (48,33), (64,256), (513,7)])
def test_equals_floats_of_64_bits(m, n, bias):
    "Any number of rows and dimensions, none among them, and rows that do not lie side by side"
    layer,wanted = both(m, n, bias)
    wide = torch.randn(5, 7, 2*m)
    some = [torch.randn(m), torch.randn(1, m), torch.randn(300, m), torch.randn(2, 3, 4, m), torch.randn(7, 5, m).transpose(0, 1), wide[...,::2], wide[:,1:,m:], torch.randn(0, m), torch.randn(3, 0, m)]
    for x in some:
        with torch.inference_mode(): got = layer(x)
        assert got.shape==wanted(x).shape and got.dtype==torch.float32
        assert np.allclose(got.numpy(), wanted(x).numpy(), atol=1e-5, rtol=1e-5)
        assert not len(got) or packed(layer)==has_onednn()

def test_what_is_left_alone():
    "Other numbers, other layers, other classes; and packing twice"
    class Own(torch.nn.Linear): pass
    net = torch.nn.ModuleDict(dict(short=torch.nn.Linear(4, 4, dtype=torch.bfloat16), own=Own(4, 4), words=torch.nn.Embedding(9, 4), attention=torch.nn.MultiheadAttention(4, 2), meta=torch.nn.Linear(4, 4, device='meta'), plain=torch.nn.Linear(4, 4)))
    assert pack(net) is net
    first = net['plain'].weight
    assert pack(net)['plain'].weight is first and packed(net['plain'])==has_onednn()
    assert not any(packed(net[k]) for k in ('short','own','words','meta')) and not packed(net['attention'].out_proj)
    x = torch.randn(3, 1, 4)
    assert torch.isfinite(net['attention'](x, x, x)[0]).all()

def test_shared_weights_stay_with_the_words():
    "A matrix that a layer shares with the table of words is packed in the layer alone"
    words,last = torch.nn.Embedding(9, 4),torch.nn.Linear(4, 9, bias=False)
    last.weight = words.weight
    pack(last)
    with torch.inference_mode(): assert torch.allclose(last(words(torch.arange(9))), words.weight@words.weight.T, atol=1e-6)
    assert not packed(words)

def test_where_there_is_no_onednn(monkeypatch):
    "A processor that is none of x86, or another build of PyTorch: the layer of PyTorch"
    from rankwb.core import products
    for patches in (lambda m: m.setattr(products.platform, 'machine', lambda: 'arm64'), lambda m: m.setattr(torch.backends.mkldnn, 'is_available', lambda: False)):
        with monkeypatch.context() as m:
            patches(m)
            layer,wanted = both(6, 3)
            assert not has_onednn() and not packed(layer)
            x = torch.randn(4, 6)
            assert np.allclose(layer(x).detach().numpy(), wanted(x).detach().numpy(), atol=1e-5)

def test_encoders_of_T5(tmp_path, monkeypatch):
    "monoT5 scores the same without; only the encoder is packed, since the decoder takes hold of its weights"
    from test_seq2seq import pairs, save
    from rankwb.reranking import seq2seq
    folder = save(tmp_path/'t5', feed_forward_proj='gated-gelu')
    mono,linear = seq2seq.MonoT5(folder, device='cpu'),lambda net: [o for o in net.modules() if type(o) is torch.nn.Linear]
    net,scores = mono.load().net,mono.score(pairs)
    assert all(packed(o)==has_onednn() for o in linear(net.encoder)) and not any(map(packed, linear(net.decoder)))
    monkeypatch.setattr(seq2seq, 'pack', lambda net: net)
    monkeypatch.setattr(seq2seq.MonoT5, 'load', seq2seq.MonoT5.open)
    assert not any(map(packed, linear(mono.load().net)))
    assert np.abs(mono.score(pairs)-scores).max()<1e-5 and scores.std()>.01

def test_several_threads():
    layer,wanted = both(96, 64)
    x,before = torch.randn(500, 96),torch.get_num_threads()
    try:
        for n in (1,2):
            torch.set_num_threads(n)
            with torch.inference_mode(): assert np.allclose(layer(x).numpy(), wanted(x).numpy(), atol=1e-5, rtol=1e-5)
    finally: torch.set_num_threads(before)
