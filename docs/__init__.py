"How the notebooks become the site, the README and their own outputs; no part of the package"
