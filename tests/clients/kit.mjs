// What the npm client fhir-kit-client makes of a server: node kit.mjs BASE TOKEN, steps as JSON lines.
import { Client } from "fhir-kit-client";

const [baseUrl, bearerToken] = process.argv.slice(2);
const client = new Client({ baseUrl, bearerToken });
const tell = (step, told) => console.log(JSON.stringify({ step, ...told }));
const status = (resource) => Client.httpFor(resource).response.status;
const refused = async (asked) => {
  try {
    await asked;
    return { status: 0 };
  } catch (error) {
    return { status: error.response?.status, resourceType: error.response?.data?.resourceType };
  }
};
const run = Math.random().toString(36).slice(2);
const system = "https://clients.example/id";
const patient = (value, family) => ({
  resourceType: "Patient",
  identifier: [{ system, value: `${run}-${value}` }],
  name: [{ family }],
  managingOrganization: { reference: "Organization/lead" },
});

const statement = await client.capabilityStatement();
tell("capabilities", { fhirVersion: statement.fhirVersion });

const made = await client.create({ resourceType: "Patient", body: patient(1, `Kit${run}`) });
tell("create", { status: status(made), id: Boolean(made.id), version: made.meta.versionId });
const id = made.id;
const read = await client.read({ resourceType: "Patient", id });
tell("read", { family: read.name[0].family === `Kit${run}` });
const changed = await client.update({
  resourceType: "Patient", id, body: { ...read, gender: "other" },
});
tell("update", { version: changed.meta.versionId, gender: changed.gender });
const old = await client.vread({ resourceType: "Patient", id, version: "1" });
tell("vread", { gender: old.gender ?? null });
const patched = await client.patch({
  resourceType: "Patient", id,
  jsonPatch: [{ op: "replace", path: "/gender", value: "unknown" }],
});
tell("patch", { version: patched.meta.versionId, gender: patched.gender });
const history = await client.history({ resourceType: "Patient", id });
tell("history", { total: history.entry.length, type: history.type });

const again = { headers: { "If-None-Exist": `identifier=${system}|${run}-1` } };
const same = await client.create({
  resourceType: "Patient", body: patient(1, "Another"), options: again,
});
tell("conditional create", { status: status(same), same: same.id === id });
const conditional = await client.update({
  resourceType: "Patient", searchParams: { identifier: `${system}|${run}-2` },
  body: patient(2, `Kit${run}`),
});
tell("conditional update", { status: status(conditional), other: conditional.id !== id });

for (const n of [3, 4, 5, 6, 7]) {
  await client.create({ resourceType: "Patient", body: patient(n, `Kit${run}`) });
}
let page = await client.search({
  resourceType: "Patient", searchParams: { family: `Kit${run}`, _count: 3 },
});
const seen = [];
let pages = 0;
while (page) {
  pages += 1;
  seen.push(...page.entry.map((entry) => entry.resource.id));
  page = await client.nextPage({ bundle: page });
}
tell("paging", { pages, found: seen.length, distinct: new Set(seen).size });

const transaction = await client.transaction({
  body: {
    resourceType: "Bundle", type: "transaction",
    entry: [
      {
        fullUrl: "urn:uuid:6f2b7a2e-5a7e-4bd0-9d4a-000000000001",
        resource: patient(8, `Kit${run}`),
        request: { method: "POST", url: "Patient" },
      },
      {
        resource: {
          resourceType: "Observation", status: "final", code: { text: "weight" },
          subject: { reference: "urn:uuid:6f2b7a2e-5a7e-4bd0-9d4a-000000000001" },
          performer: [{ reference: "Organization/lead" }],
          valueQuantity: { value: 70.50, unit: "kg", system: "http://unitsofmeasure.org", code: "kg" },
        },
        request: { method: "POST", url: "Observation" },
      },
    ],
  },
});
tell("transaction", { type: transaction.type, statuses: transaction.entry.map((e) => e.response.status.slice(0, 3)) });
const chained = await client.search({
  resourceType: "Observation",
  searchParams: { "patient.identifier": `${system}|${run}-8`, _include: "Observation:patient" },
});
tell("chain and include", {
  types: chained.entry.map((e) => e.resource.resourceType).sort(),
  modes: chained.entry.map((e) => e.search.mode).sort(),
});
const compartment = await client.search({
  resourceType: "Observation",
  compartment: { resourceType: "Patient", id: transaction.entry[0].response.location.split("/").at(-3) },
});
tell("compartment", { found: compartment.entry?.length ?? 0 });
const batch = await client.batch({
  body: {
    resourceType: "Bundle", type: "batch",
    entry: [
      { request: { method: "GET", url: `Patient/${id}` } },
      { request: { method: "GET", url: "Patient/there-is-none" } },
    ],
  },
});
tell("batch", { statuses: batch.entry.map((e) => e.response.status.slice(0, 3)) });
const validated = await client.operation({
  name: "$validate", resourceType: "Patient", input: patient(9, "Kit"),
});
tell("operation", { resourceType: validated.resourceType });

const doomed = await client.create({ resourceType: "Patient", body: patient(10, `Kit${run}`) });
await client.delete({ resourceType: "Patient", id: doomed.id });
tell("delete", await refused(client.read({ resourceType: "Patient", id: doomed.id })));
tell("not found", await refused(client.read({ resourceType: "Patient", id: "there-is-none" })));
tell("unknown type", await refused(client.read({ resourceType: "Nonsense", id: "1" })));
tell("invalid", await refused(client.create({ resourceType: "Patient", body: { resourceType: "Patient", gender: "x" } })));
