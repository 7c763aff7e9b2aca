// One chat request with the official client: node chat.mjs BASE_URL whole|stream GRAMMAR. Prints the answer.

import process from 'node:process';

import OpenAI from 'openai';

const [baseURL, how, grammar] = process.argv.slice(2);
const client = new OpenAI({ baseURL, maxRetries: 0 });
const request = { model: 'tiny', messages: [{ role: 'user', content: 'hello' }], grammar };
if (how === 'stream') {
  const stream = await client.chat.completions.create({ ...request, stream: true });
  for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? '');
} else {
  const answer = await client.chat.completions.create(request);
  process.stdout.write(answer.choices[0].message.content);
}
