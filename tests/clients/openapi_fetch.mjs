// openapi-fetch, the runtime of openapi-typescript. usage: node openapi_fetch.mjs CLIENTS HOST:PORT KEY ID
import { pathToFileURL } from 'node:url';

const [clients, address, key, id] = process.argv.slice(2);
const module = pathToFileURL(`${clients}/node_modules/openapi-fetch/dist/index.mjs`);
const { default: createClient } = await import(module);
const client = createClient({ baseUrl: `http://${address}`, headers: { authorization: `Bearer ${key}` } });
const check = (name, { response }, status = 200) => {
  if (response.status !== status) throw new Error(`${name}: ${response.status} ${response.url}`);
};
const path = { id };
check('agreement', await client.GET('/api/agreements/{id}', { params: { path } }));
check('events', await client.GET('/api/agreements/{id}/events', { params: { path } }));
const body = { function: 'nothing' };
check('simulate', await client.POST('/api/agreements/{id}/simulate', { params: { path }, body }));
const model = { publisher: 'acme', model: 'echo@1.0.0' };
check('model', await client.GET('/{publisher}/{model}', { params: { path: model } }));
const call = { ...model, function: 'nothing' };
check('call', await client.POST('/{publisher}/{model}/{function}', { params: { path: call }, body: {} }));
console.log('ok');
