// Lints docs/asyncapi.json with AsyncAPI's own parser: node .ci/asyncapi/lint.mjs MODULES DOCUMENT.
// MODULES is a folder with node_modules in it, as npm makes it.
import { createRequire } from 'node:module';
import path from 'node:path';

const [modules, document] = process.argv.slice(2).map((p) => path.resolve(p));
const require = createRequire(path.join(modules, 'package.json'));
const { Parser, fromFile } = require('@asyncapi/parser');

const { document: parsed, diagnostics } = await fromFile(new Parser(), document).parse();
for (const d of diagnostics) {
  const level = ['error', 'warning', 'info', 'hint'][d.severity];
  console.log(`${level}: ${d.code}: ${d.message} at ${d.path.join('.')}`);
}
if (!parsed || diagnostics.some((d) => d.severity <= 1)) {
  console.log(`${document} has faults`);
  process.exit(1);
}
const messages = parsed.allMessages().all();
console.log(`${document}: AsyncAPI ${parsed.version()}, ${parsed.channels().all().length} channels, ${parsed.operations().all().length} operations, ${messages.length} messages, no fault`);
