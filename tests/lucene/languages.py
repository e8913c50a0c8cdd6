"""Make `languages.json.gz`, what Lucene 9.9.1 (the jar of Pyserini 1.6.0) says in other languages than English, and the stop words of the package

    python tests/lucene/languages.py

Words are made of stop words, of letters, and of the endings and beginnings that a stemmer of the language looks for. The file
holds Lucene's tokens for them, digests of its rankings of texts of such words, and digests of its tokens and its rankings for
XQuAD in German and Spanish.
"""
import gzip, hashlib, json, random, sys
from pathlib import Path

from make_expected import DATA, ROOT, ask, digest, load, strings

FILE = Path(__file__).parent/'languages.json.gz'
STOP_WORDS = ROOT/'rankwb/retrieval/stopwords.json'
XQUAD = dict(de='xquad_de', es='xquad_es')
WORDS = 1500 # Made for each language

LATIN = 'aaabcdeeefghiiijklmnoooprstuuuvyz'
PARTS = { # code of a language → what its words are made of: letters, beginnings, endings
    'ar': ('ابتثجحخدذرزسشصضطظعغفقكلمنهويةىءآأإـ\u064b\u064e\u0651\u0652٠٣٩', 'ال وال بال كال فال لل و', 'ها ان ات ون ين يه ية ه ة ي'),
    'bg': ('абвгдежзийклмнопрстуфхцчшщъьюя', '', 'ият ът то те та ия ят овци ове еве ища ци зи ели еси си и я а о е ен ъл'),
    'bn': (''.join(map(chr, [*range(0x981, 0x984), *range(0x985, 0x9e4)]))+'ক্ষ্য্বিঃ'*4+'\u200c\u200d১৯',
           'ক্ষি স্য ত্ব', 'িয়াছিলাম িতেছিলেন য়েদেরকে িয়াছেন েদেরকে ছিলাম দেরকে িলাম গুলো েদের লাম িলে ইলে েরা দের েন লে তা টি ের কে ি া ে ব ঃ'),
    'cjk': ('東京中国語大学年月日々〇ひらがなカタカナハﾊﾞﾟｱｲｳ한국어서울각ㄱ𠀀ＡＢ１２ab1ー・_．。、 \u3099', '', ''),
    'cs': (LATIN+'áčďéěíňóřšťúůýž', '', 'atech ětem etem atům ech ích ého emi ému ete ího ách ata aty ých ami ové ovi em es os us mi ou a e y ov in ův čt št c č z ž ek ůl'),
    'da': (LATIN+'æøå012', '', 'erendes erende hedens ethed erede heden heder endes ernes erens erets ered ende erne eren erer heds enes eres eret hed ene ere ens ers ets en er es et e s gd dt gt kt igst ig lig elig els løst bb nn'),
    'de': (LATIN+'äöüßàáéîq', '', 'ern em en er es e bs ds ns ts est st bst gst ae oe ue aue quer'),
    'es': (LATIN+'áéíóúüñç', '', 'eses ces os as es o a e ciones mente'),
    'fa': ('ابپتثجچحخدذرزژسشصضطظعغفقکكگلمنوهۀہیيےة\u0654\u200c۰۱۹', '', 'ها های ترین تر ام ات اش ی'),
    'fi': ('aaadeehiiijklmmnnoprsttuvyäöåéb1', '', 'kin kaan kään ko kö han hän pa pä sti ksi si kseni ni nsa nsä mme nne taan ssaan än lleen en hon siin aaseen seen iden itten n ia a tta ta ssa sta lla lta lle na ine mpi impi pompi mma imma immat ejä i j t jo oj uj ää nn'),
    'fr': (LATIN+'àâçéèêëîïôùûœ', "l' L’ d' qu' jusqu' aujourd' s'", 'issement issant ement ivement ficatrice ficateur catrice cateur atrice ateur trice ième teuse teur euse ère ive folle molle nnelle nnel ète ique esse inage isation ualisation isateur ation ition eaux aux eux x s ie er ée ll'),
    'hi': (''.join(map(chr, [*range(0x900, 0x964), *range(0x971, 0x974)]))+'न्ा़'*6+'\u200c\u200d१९', '',
           'ाएंगी ाऊंगा ाइयाँ ाएगी ाओगे एंगे ूंगा ातीं नाओं ियाँ ाकर ाइए ाया ेगा ोगी ाने ाती तीं ुओं कर ाओ िए ने ती ों ें ो े ी ा'),
    'hu': (LATIN+'áéíóöőúüű', '', 'onként enként ánként ként koror val vel bbal ccal ban ben nak nek hoz hez höz tól től ból ből ról ről ért kor stül képpen án én ostul estül ig ul at et öt ot ek ok ák ék jaink jük juk unk ünk om em ám d jai jei a e é éké ei k dzs sz'),
    'id': ('aabdeeghiijklmnoprstuuy', 'me meng meny men mem pe peng peny pen pem di ter ke be ber per belajar pelajar beter', 'kah lah pun ku mu nya kan an i si'),
    'it': (LATIN+'àèéìíòóùäï', "l' all’ dell' un' nell'", 'ie he hi ii ia io i e a o mente zione'),
    'nl': (LATIN+'ëïéèöüäáóúíçñ', '', 'heden heid ene en se s e end ing ig lijk baar bar je tje eë aak oop uur kk tt dd gem iën'),
    'no': (LATIN+'æøå01', '', 'hetenes hetene endes heter heten enes edes ende ande ede ene ane ens ers ets et en er ar as es e a s ks erte ert dt vt hetslov eleg elig slov lov leg els eig ig'),
    'pt': (LATIN+'àáâãçéêíóôõú', '', 'res ses les zes ns eis éis ais óis is ões ães mente s inha iaca eira osa ica ida ada iva ama ona ora esa na a e o'),
    'ro': (LATIN+'ăâîşţșț', '', 'urilor atiilor aţia ului elor iilor ile ea abilitate ivitate icator aţiune abil ibil oasa ata iune ism ist aserăţi ează indu ăşti seşi am eşti eze i e a'),
    'ru': ('абвгдеёжзийклмнопрстуфхцчшщъыьэюя', '', 'ившись ывшись вшись ейшего ейше ивши ывши ими ыми его ого ему ому ая яя ую юю ее ые уйте ейте ешь нно ете йте ила ыла уют ять сь ся иями ями ами иях ах ев ов ия ья ью ость ост нн ь'),
    'sv': (LATIN+'åäö01', '', 'heterna hetens arnas ernas ornas anden andet andes aren arens heten heter erna orna arna ande ades ade are aste ast het ern ens er or ar en at ad as a e s dd gd nn dt gt kt tt lig ig els löst fullt'),
    'ta': (''.join(map(chr, [*range(0xb85, 0xbba), *range(0xbbe, 0xbce)])), 'எப் அச் யோ உப', 'வார்கள் ுடைய ிலிருந்து ுக்கு ியல் கள் ங்கள் ாக ின் தல் ால் ிலும் ேன் ஆன ும் த்த வை ை'),
    'te': (''.join(map(chr, [*range(0xc00, 0xc3a), *range(0xc3e, 0xc57)]))+'ొెఒౕౌ\u200c\u200d౩', '', 'ళ్ళు డ్లు డు ము వు లు ని ను చే కై లో ది కి సు వై పై ి ు ె ో ా'),
    'tr': (LATIN+'çğıöşüI\u0307İ', '', "'ın ’daki lar ler ları leri dır dir tır ız iz sınız siniz ım im mış miş dı di tu tü sa se ken yken casına cesine ın in nda nde ndan dan den da de ta ya yı yla ca ce ki ım muz nuz su sı b c d ğ g")}

def words(
    code, # Of a language
    n=WORDS,
    seed=0,
):
    "Made-up words of a language, some of them its stop words, some with a letter, digit or sign that does not belong there"
    rng,(letters,starts,ends) = random.Random(f'{code}{seed}'),PARTS[code]
    starts,ends,known = starts.split() or [''],ends.split() or [''],json.loads(STOP_WORDS.read_text(encoding='utf-8'))['words'][code].split()
    for _ in range(n):
        if rng.random()<.1: yield rng.choice(known)
        else:
            w = rng.choice(['','','']+starts)+''.join(rng.choices(letters, k=rng.randint(0, 6)))
            if rng.random()<.06: w += rng.choice("éñß0٣७'-.xЯ𐐀𝐚\u0301")+''.join(rng.choices(letters, k=rng.randint(0, 3)))
            w += ''.join(rng.choices(ends, k=rng.choice([0,1,1,1,2,2,3])))
            yield w.upper() if rng.random()<.05 else w.capitalize() if rng.random()<.05 else w

def texts(code, n=WORDS, seed=0):
    "The words of a language, ten to a text, and strings of all scripts"
    w = [*words(code, n, seed)]
    return [' '.join(w[i:i+10]) for i in range(0, n, 10)] + [*strings(2, 100+seed)]

def address(tokens):
    "The address of tokens of texts"
    return hashlib.sha256(json.dumps(tokens, ensure_ascii=False).encode()).hexdigest()[:16]

def search(code, docs, queries, k=1000): return dict(language=code, docs=docs, queries=queries, k1=.9, b=.4, k=k)

def made_up(code, seed=0):
    "A search in made-up words"
    found = texts(code, 600, 50+seed)
    return search(code, found, found[:20])

def real(code):
    "A search in XQuAD"
    c = load(XQUAD[code])
    return search(code, c.docs.texts(), c.queries.texts())

def request(xquad=XQUAD):
    "What Lucene is asked: about made-up words, and about the collections of `xquad`"
    collections = {code: real(code) for code in xquad}
    given = {code: texts(code)+[t for c in collections if c==code for t in collections[c]['docs']+collections[c]['queries']] for code in PARTS}
    return dict(languages=given, searches=[*map(made_up, PARTS), *collections.values()], stops=[*PARTS])

def kept(answers):
    "What is kept of the answers"
    found,rankings = answers['languages'],[[digest(*r) for r in s] for s in answers['searches']]
    n = len(texts('de'))
    return dict(made_with='Pyserini 1.6.0: Anserini 1.7.1, Lucene 9.9.1; k1=0.9, b=0.4, k=1000', rankings=dict(zip(PARTS, rankings)),
                tokens={code: [' '.join(t) for t in found[code][:n]] for code in PARTS},
                xquad={code: dict(tokens=[*map(address, found[code][n:])], rankings=r) for code,r in zip(XQUAD, rankings[len(PARTS):])})

def stop_words(answers):
    "What is kept of the stop words; those that hold a blank can be no token and are left out"
    return dict(
        source='Apache Lucene 9.9.1, org.apache.lucene.analysis: the default stop words of the analyzer of each language',
        licence='Apache-2.0. The lists of da de es fi fr hu it nl no pt ru sv are those of Snowball (BSD-3-Clause, Martin Porter and Richard Boulton); '
                'those of ar bg bn fa hi ro are by Jacques Savoy (BSD)',
        words={code: ' '.join(w for w in found if ' ' not in w) for code,found in answers['stops'].items()})

def written(o, **kw): return json.dumps(o, ensure_ascii=False, **kw)

if __name__=='__main__':
    sys.path.insert(0, str(ROOT))
    STOP_WORDS.write_text(written(stop_words(ask(dict(stops=[*PARTS]))), indent=1)+'\n', encoding='utf-8')
    FILE.write_bytes(gzip.compress(written(kept(ask(request())), separators=(',',':')).encode(), 9, mtime=0))
    print(f'{FILE.name}: {FILE.stat().st_size:,} bytes; {STOP_WORDS.name}: {STOP_WORDS.stat().st_size:,} bytes')
