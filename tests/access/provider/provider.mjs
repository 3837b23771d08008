// An OpenID Connect provider for tests: the real library, people and their groups as JSON on the command line.
// node provider.mjs PORT REDIRECT_URI GROUPS_BY_NAME IN_ID_TOKEN
import Provider from 'oidc-provider';

const [port, redirect, people, inIdToken] = process.argv.slice(2);
const groups = JSON.parse(people);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: 'cramp-cds', client_secret: 'the secret of the client', redirect_uris: [redirect] }],
  claims: { openid: ['sub'], profile: ['preferred_username'], groups: ['groups'] },
  scopes: ['openid', 'profile', 'groups'],
  conformIdTokenClaims: inIdToken !== 'yes',
  pkce: { required: () => true },
  cookies: { keys: ['for tests only'] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: `subject of ${id}`.slice(0, 255), preferred_username: id, groups: groups[id] ?? [] }),
  }),
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
