"""Devices of pymodbus 3.0 (Debian's python3-pymodbus), each on a line of its own and all behind one TCP port.

    tables_pymodbus.py UNIT=TTY...

It says "ready PORT". Lines on stdin: "set UNIT FUNCTION ADDRESS WORD..." with the function that reads the table
(1 to 4), "identify OBJECT BYTE..." for what function 43 tells of all units. Each is answered with "ok" once it
stands. It ends with its stdin.
"""
import asyncio
import os
import sys
import threading

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.device import ModbusControlBlock, ModbusDeviceIdentification
from pymodbus.server.async_io import ModbusSerialServer, ModbusTcpServer
from pymodbus.transaction import ModbusRtuFramer, ModbusSocketFramer


def block():
    return ModbusSequentialDataBlock(0, [0] * 65536)


def follow(units):
    names = {}
    for line in sys.stdin:
        verb, *rest = line.split()
        numbers = [int(n) for n in rest]
        if verb == "set":
            units[numbers[0]].setValues(numbers[1], numbers[2], numbers[3:])
        else:
            names[numbers[0]] = bytes(numbers[1:])
            ModbusControlBlock().Identity.update(names)
        print("ok", flush=True)
    os._exit(0)


async def main(lines):
    units = {unit: ModbusSlaveContext(di=block(), co=block(), hr=block(), ir=block(), zero_mode=True) for unit in lines}
    names = ModbusDeviceIdentification()
    tcp = ModbusTcpServer(ModbusServerContext(slaves=units, single=False), ModbusSocketFramer, names, ("127.0.0.1", 0))
    running = [asyncio.ensure_future(tcp.serve_forever())]
    await tcp.serving
    for unit, tty in lines.items():
        alone = ModbusServerContext(slaves={unit: units[unit]}, single=False)
        line = ModbusSerialServer(alone, ModbusRtuFramer, names, port=tty, baudrate=115200, parity="N", stopbits=1)
        await line.start()
        if line.transport is None:
            sys.exit("cannot open " + tty)
        running.append(asyncio.ensure_future(line.serve_forever()))
    print("ready", tcp.server.sockets[0].getsockname()[1], flush=True)
    threading.Thread(target=follow, args=(units,), daemon=True).start()
    await asyncio.gather(*running)


asyncio.run(main({int(unit): tty for unit, tty in (arg.split("=") for arg in sys.argv[1:])}))
