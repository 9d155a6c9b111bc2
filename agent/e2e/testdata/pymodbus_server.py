"""A Modbus server of pymodbus 3.0 (Debian's python3-pymodbus), led over stdin.

    pymodbus_server.py tcp PORT UNIT    or    pymodbus_server.py rtu PATH UNIT
    pymodbus_server.py rtu-over-tcp PORT UNIT    or    pymodbus_server.py ascii PATH UNIT

Lines on stdin: "set FUNCTION ADDRESS VALUE..." with the function that reads the table (1 to 4);
each is answered with "ok" once the registers stand. It ends with its stdin.
"""
import asyncio
import os
import sys
import threading

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.device import ModbusDeviceIdentification
from pymodbus.server.async_io import ModbusSerialServer, ModbusTcpServer
from pymodbus.transaction import ModbusAsciiFramer, ModbusRtuFramer, ModbusSocketFramer


# What it calls itself; two of the objects do not fit into one reply.
IDENTITY = ModbusDeviceIdentification(
    info_name={"VendorName": "pymodbus", "ProductCode": "PM", "MajorMinorRevision": "3.0"},
    info={0x80: "a" * 200, 0x81: "b" * 200, 0x82: "1=UPS2000;2=V1"},
)


def lead(unit):
    for line in sys.stdin:
        word = line.split()
        unit.setValues(int(word[1]), int(word[2]), [int(v) for v in word[3:]])
        print("ok", flush=True)
    os._exit(0)


async def main(kind, where, number):
    def block():
        return ModbusSequentialDataBlock(0, [0] * 4096)

    unit = ModbusSlaveContext(di=block(), co=block(), hr=block(), ir=block(), zero_mode=True)
    context = ModbusServerContext(slaves={number: unit}, single=False)
    if kind in ("tcp", "rtu-over-tcp"):
        framer = ModbusSocketFramer if kind == "tcp" else ModbusRtuFramer
        server = ModbusTcpServer(context, framer=framer, identity=IDENTITY, address=("127.0.0.1", int(where)))
        running = asyncio.ensure_future(server.serve_forever())
        await server.serving
    else:
        framer = ModbusAsciiFramer if kind == "ascii" else ModbusRtuFramer
        server = ModbusSerialServer(context, framer, identity=IDENTITY, port=where, baudrate=9600, parity="N", stopbits=1)
        await server.start()
        if server.transport is None:
            sys.exit("cannot open " + where)
        running = asyncio.ensure_future(server.serve_forever())
    print("ready", flush=True)
    threading.Thread(target=lead, args=(unit,), daemon=True).start()
    await running


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
