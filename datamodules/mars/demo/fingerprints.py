"""Electron-ionisation fingerprints of the demo's compounds: main ions as m/z -> relative abundance.

The ions are the well-known main fragments of each substance (70 eV); retention indices are rounded literature values.
"""

from __future__ import annotations

from dataclasses import dataclass

CLASSES = (
    "aromatic", "hydrocarbon", "carboxylic_acid", "nitrogen_bearing_compound", "chlorine_bearing_compound",
    "sulfur_bearing_compound", "alcohol", "other_oxygen_bearing_compound", "mineral",
)  # fmt: skip
_A, _H, _C, _N, _CL, _S, _OH, _O, _M = range(len(CLASSES))
MINERAL = _M


@dataclass(frozen=True)
class Compound:
    """A substance.

    Args:
        name: Name of the substance.
        classes: Positions in :data:`CLASSES`.
        retention_index: Kovats index, 100 per carbon of an n-alkane.
        ions: m/z to relative abundance.
        derivatized: A trimethylsilyl derivative, which only derivatized samples hold.
    """

    name: str
    classes: frozenset[int]
    retention_index: float
    ions: dict[int, float]
    derivatized: bool = False


def _substance(
    name: str, classes: tuple[int, ...], index: float, ions: dict[int, float], tms: bool = False
) -> Compound:
    return Compound(name, frozenset(classes), index, ions, tms)


def _alkane(carbons: int) -> Compound:
    molecule = 14 * carbons + 2
    ions = {43: 100.0, 57: 90, 71: 50, 85: 33, 41: 43, 29: 30} | {
        ion: 1200.0 / ion for ion in range(99, molecule - 28, 14)
    }
    return _substance(f"n-C{carbons}", (_H,), 100.0 * carbons, ions | {molecule: 5.0})


def _tms_fatty_acid(carbons: int) -> Compound:
    ions = {73: 100.0, 117: 90, 75: 75, 129: 50, 132: 45, 145: 25, 147: 8, 14 * carbons + 89: 60}
    return _substance(f"C{carbons} acid, TMS", (_C,), 100.0 * carbons + 450, ions, tms=True)


_TMS_SILYL = {73: 100.0, 147: 25.0}

COMPOUNDS: tuple[Compound, ...] = (
    *(_alkane(carbons) for carbons in (8, 10, 12, 14, 16, 18, 20, 22, 24)),
    _substance("limonene", (_H,), 1030, {68: 100, 93: 70, 67: 68, 79: 35, 136: 20, 41: 30, 53: 25}),
    _substance("1-dodecene", (_H,), 1190, {41: 90, 43: 95, 55: 100, 56: 80, 69: 75, 83: 55, 97: 40, 168: 4}),
    _substance("toluene", (_A,), 760, {91: 100, 92: 77, 65: 17, 39: 12}),
    _substance("benzene", (_A,), 650, {78: 100, 77: 21, 52: 19, 51: 15}),
    _substance("naphthalene", (_A,), 1180, {128: 100, 127: 13, 129: 11, 102: 8}),
    _substance("phenanthrene", (_A,), 1780, {178: 100, 176: 19, 179: 15, 89: 9, 76: 9}),
    _substance("pyrene", (_A,), 2100, {202: 100, 101: 20, 200: 20, 203: 18}),
    _substance("phenol", (_A, _OH), 980, {94: 100, 66: 38, 65: 26, 39: 20}),
    _substance("acetophenone", (_A, _O), 1065, {105: 100, 77: 82, 120: 43, 51: 25}),
    _substance("benzoic acid", (_A, _C), 1180, {105: 100, 122: 85, 77: 72, 51: 30}),
    _substance("benzoic acid, TMS", (_A, _C), 1250, {179: 100, 105: 75, 77: 55, 135: 45, 194: 10}, tms=True),
    _substance("acetic acid", (_C,), 610, {43: 100, 45: 87, 60: 50}),
    _substance("palmitic acid", (_C,), 1960, {73: 93, 60: 87, 43: 100, 129: 40, 57: 70, 256: 25, 213: 15}),
    _substance("stearic acid", (_C,), 2160, {73: 93, 60: 87, 43: 100, 129: 42, 57: 72, 284: 25, 241: 15}),
    *(_tms_fatty_acid(carbons) for carbons in (10, 12, 14, 16, 18)),
    _substance("succinic acid, TMS", (_C,), 1310, {147: 100, 73: 60, 75: 25, 247: 20, 55: 10}, tms=True),
    _substance("glycine", (_C, _N), 900, {30: 100, 75: 6, 28: 20, 45: 10}),
    _substance("glycine, TMS", (_C, _N), 1300, _TMS_SILYL | {174: 100, 86: 25, 248: 15, 100: 15}, tms=True),
    _substance("alanine, TMS", (_C, _N), 1105, _TMS_SILYL | {116: 100, 190: 6, 100: 10}, tms=True),
    _substance("valine, TMS", (_C, _N), 1215, _TMS_SILYL | {144: 100, 218: 25, 100: 12}, tms=True),
    _substance("proline, TMS", (_C, _N), 1300, _TMS_SILYL | {142: 100, 216: 8}, tms=True),
    _substance("phenylalanine, TMS", (_A, _C, _N), 1630, _TMS_SILYL | {218: 80, 192: 85, 100: 30, 91: 20}, tms=True),
    _substance("serine, TMS", (_C, _N, _OH), 1370, _TMS_SILYL | {204: 95, 218: 70, 100: 45, 306: 5}, tms=True),
    _substance("cysteine, TMS", (_C, _N, _S), 1560, _TMS_SILYL | {220: 75, 100: 35, 218: 60, 116: 25, 294: 6}, tms=True),
    _substance("butylamine", (_N,), 680, {30: 100, 44: 12, 73: 10, 28: 10}),
    _substance("triethylamine", (_N,), 690, {86: 100, 58: 35, 30: 30, 101: 20, 44: 15}),
    _substance("decanenitrile", (_N,), 1290, {41: 100, 82: 65, 96: 70, 110: 55, 55: 60, 124: 25}),
    _substance("ethanolamine, TMS", (_N, _OH), 1280, _TMS_SILYL | {174: 100, 86: 15, 100: 15, 262: 5}, tms=True),
    _substance("urea, TMS", (_N,), 1250, {147: 100, 189: 85, 73: 50, 66: 15, 204: 5}, tms=True),
    _substance("aniline", (_A, _N), 980, {93: 100, 66: 42, 65: 20, 39: 15}),
    _substance("pyridine", (_A, _N), 745, {79: 100, 52: 76, 51: 35, 50: 20}),
    _substance("indole", (_A, _N), 1290, {117: 100, 90: 40, 89: 30, 63: 15}),
    _substance("benzonitrile", (_A, _N), 980, {103: 100, 76: 34, 50: 15}),
    _substance("chloroform", (_CL,), 620, {83: 100, 85: 65, 47: 35, 87: 10}),
    _substance("dichloromethane", (_CL,), 520, {49: 100, 84: 60, 86: 38, 51: 28}),
    _substance("hexachloroethane", (_CL,), 1060, {117: 100, 119: 96, 201: 70, 203: 45, 166: 40, 121: 30}),
    _substance("chlorobenzene", (_A, _CL), 845, {112: 100, 77: 68, 114: 31, 51: 25}),
    _substance("dichlorobenzene", (_A, _CL), 1010, {146: 100, 148: 64, 111: 38, 75: 25}),
    _substance("dimethyl disulfide", (_S,), 740, {94: 100, 79: 60, 45: 65, 46: 35, 47: 30}),
    _substance("propanethiol", (_S,), 620, {76: 100, 47: 90, 43: 75, 42: 55, 61: 20}),
    _substance("thiophene", (_A, _S), 660, {84: 100, 58: 65, 45: 55, 39: 25}),
    _substance("methylthiophene", (_A, _S), 770, {97: 100, 98: 55, 45: 25, 53: 10}),
    _substance("dibenzothiophene", (_A, _S), 1750, {184: 100, 139: 18, 152: 10, 92: 10}),
    _substance("ethanol", (_OH,), 430, {31: 100, 45: 50, 29: 30, 46: 20}),
    _substance("1-hexanol", (_OH,), 870, {56: 100, 43: 80, 55: 60, 41: 55, 31: 45, 69: 35}),
    _substance("1-decanol", (_OH,), 1270, {55: 100, 70: 90, 41: 80, 43: 85, 56: 75, 69: 65, 83: 60, 31: 35}),
    _substance("hexanol, TMS", (_OH,), 1000, {75: 100, 73: 60, 159: 80, 103: 25, 89: 10}, tms=True),
    _substance("acetone", (_O,), 480, {43: 100, 58: 25, 42: 8}),
    _substance("furan", (_O,), 500, {68: 100, 39: 65, 38: 12}),
    _substance("nonanal", (_O,), 1105, {41: 100, 43: 90, 57: 95, 98: 45, 44: 50, 70: 40, 82: 30}),
    _substance("methyl palmitate", (_O,), 1925, {74: 100, 87: 70, 43: 40, 143: 18, 227: 10, 270: 15, 55: 35}),
)  # fmt: skip

# broad early releases of heated minerals
MINERAL_GASES: tuple[dict[int, float], ...] = (
    {18: 100, 17: 22, 16: 2}, {44: 100, 28: 11, 16: 9, 12: 6}, {64: 100, 48: 49, 66: 5, 32: 10}, {36: 100, 38: 32, 35: 17},
)  # fmt: skip
AIR = {14: 8.0, 17: 22.0, 18: 100.0, 28: 100.0, 32: 25.0, 40: 2.0, 44: 4.0}
BLEED = {73: 60.0, 147: 25, 191: 12, 207: 100, 208: 22, 209: 14, 281: 35, 282: 9, 355: 8}
PHTHALATE = Compound("phthalate", frozenset(), 2500, {149: 100, 167: 30, 57: 25, 279: 10})
SILOXANE = Compound("siloxane", frozenset(), 1330, {73: 100, 281: 60, 355: 45, 147: 30})
REAGENTS = (
    Compound("excess reagent", frozenset(), 700, {147: 100, 73: 70, 75: 45, 189: 12, 133: 15, 117: 10}, True),
    Compound("silanol", frozenset(), 560, {75: 100, 73: 20, 115: 8, 47: 12}, True),
)
