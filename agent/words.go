package main

// isNot is what firebreak is not, in the words of the README (S26): whoever arms a plan reads it, and whoever looks at the console.
const isNot = `Firebreak is not a fire alarm, gas-detection or extinguishing-control system and
is not listed as one (NFPA 72, UL 864/268/2075, EN 54, EN 60079-29). It has no SIL; no claim is
made under IEC 61508/61511. Never wire it into, or in series with, such a system or the EPO, and
never use it to reset, silence, delay or release one; they must work fully without it. Read a fire
panel only through contacts meant for that. No alarm, a fallen stage or the word "isolated" is no
proof of safety. On a fire alarm leave, and call the fire service: firebreak does not call them.
Writing to a UPS or BMS can drop the load. Whoever arms a plan owns its hazard analysis.
`
