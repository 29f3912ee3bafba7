// Checks a document on standard input: `asyncapi` prints what the AsyncAPI parser objects to; `ajv` reads
// {"schema": …, "values": [value, …]} and prints for each value what its schema objects to.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(`${process.argv[3]}/`);
const input = readFileSync(0, "utf8");

if (process.argv[2] === "asyncapi") {
  const { Parser } = require("@asyncapi/parser");
  const { document, diagnostics } = await new Parser().parse(input);
  const wrong = diagnostics.filter((one) => one.severity === 0).map((one) => `${one.path.join(".")}: ${one.message}`);
  const channels = document ? document.channels().all().map((one) => one.id()) : [];
  console.log(JSON.stringify({ wrong, version: document?.version(), channels }));
} else {
  const Ajv = require("ajv/dist/2020").default;
  const { schema, values } = JSON.parse(input);
  const check = new Ajv({ allErrors: true }).compile(schema);
  console.log(JSON.stringify(values.map((value) => (check(value) ? [] : check.errors.map((one) => one.message)))));
}
