"What tests with small random networks have in common"
import os, string
import pytest

os.environ['OMP_NUM_THREADS'] = '1' # the networks are tiny: threads would wait for one another
words = ['list','sort','dict','key','value','open','file','read','line','split','join','heap','queue','thread','lock','time','date','parse']
ids = ['1','007','doc1','a b','é','x'*300,'1234567890']
size = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)

@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    "For each test of a file that imports this: a cache folder of its own, no hub, one thread, no bars"
    import torch
    from huggingface_hub import constants
    from transformers.utils import logging
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path/'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)

def few(n): return [*range(0, n-8, 5), *range(max(n-8, 0), n)] # of n texts, of which the last ones are odd

def wordpiece(most, marks=(), punctuation=':.?!,'):
    "A WordPiece tokenizer over `words` and letters, as a BERT has it"
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertTokenizerFast
    pieces = ['[PAD]','[UNK]','[CLS]','[SEP]','[MASK]',*marks,*words,*string.ascii_lowercase,*('##'+c for c in string.ascii_lowercase),*punctuation]
    t = Tokenizer(models.WordPiece({p:i for i,p in enumerate(pieces)}, unk_token='[UNK]'))
    t.normalizer,t.pre_tokenizer = normalizers.BertNormalizer(),pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.TemplateProcessing(single='[CLS] $A [SEP]', pair='[CLS] $A [SEP] $B [SEP]', special_tokens=[('[CLS]',2),('[SEP]',3)])
    return BertTokenizerFast(tokenizer_object=t, model_max_length=most)

def bert(tokenizer):
    "The configuration of a small BERT that reads as much as its tokenizer"
    from transformers import BertConfig
    return BertConfig(vocab_size=len(tokenizer), max_position_embeddings=tokenizer.model_max_length, initializer_range=.3, **size)
