"The package, all of it as settings.ini says"
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages,setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=['='])
ini.read(here/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
name,lib,readme = cfg['lib_name'],cfg['lib_path'],here/'README.md'
stages = 'Planning,Pre-Alpha,Alpha,Beta,Production/Stable,Mature,Inactive'.split(',')

setup(
    name=name, version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'].split(),
    author=cfg['author'], author_email=cfg['author_email'],
    license_expression=cfg['license'], license_files=['LICENSE','NOTICE'],
    url=cfg['git_url'], project_urls={'Documentation': cfg['doc_host']+cfg['doc_baseurl']},
    long_description=readme.read_text(encoding='utf-8') if readme.exists() else cfg['description'],
    long_description_content_type='text/markdown',
    classifiers=[f"Development Status :: {cfg['status']} - {stages[int(cfg['status'])-1]}",
                 f"Intended Audience :: {cfg['audience']}", f"Natural Language :: {cfg['language']}",
                 'Programming Language :: Python :: 3', 'Framework :: Jupyter'],
    python_requires='>='+cfg['min_python'],
    packages=find_packages(include=[lib, f'{lib}.*']),
    package_data={lib: [f'**/{o}' for o in cfg['package_data'].split()]},
    install_requires=cfg['requirements'].split(),
    extras_require={k.removesuffix('_requirements'): v.split() for k,v in cfg.items() if k.endswith('_requirements')},
    entry_points={'console_scripts': [f'{name} = {lib}.apps.cli:program'], 'nbdev': [f'{name} = {lib}._modidx:d']},
    zip_safe=False)
