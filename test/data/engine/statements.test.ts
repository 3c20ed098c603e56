import fc from 'fast-check'
import t from 'tap'
import { filled, on, prepare, raw, template, when } from '../../../src/data/engine/statements.ts'

interface Person {
  id: number
  name: string
}

const name = (person: Person) => person.name

t.test('a statement numbers its placeholders in the order of its values', async (t) => {
  const statement = prepare(
    template<Person>`UPDATE a SET name = ${name} WHERE id = ${({ id }) => id}`
  )
  t.equal(statement.text, 'UPDATE a SET name = $1 WHERE id = $2')
  t.same(statement.valuesOf({ id: 7, name: 'Ada' }), ['Ada', 7])
})

t.test('a value that the same function reads twice is sent once', async (t) => {
  const statement = prepare(template<Person>`${name}, ${({ id }) => id}, ${name}`)
  t.equal(statement.text, '$1, $2, $1')
  t.same(statement.valuesOf({ id: 7, name: 'Ada' }), ['Ada', 7])
})

t.test(
  'a template can contain others, pass one only a part of its input, and leave one out',
  async (t) => {
    const inner = template<Person>`(${({ id }) => id}${raw('::int')})`
    const outer = template<{
      who: Person
      at: number
    }>`a ${({ at }) => at} b ${on(({ who }) => who, inner)} c${when(false, template`${() => 'never'}`)}`
    const input = { who: { id: 7, name: 'Ada' }, at: 3 }
    t.equal(prepare(outer).text, 'a $1 b ($2::int) c')
    t.same(prepare(outer).valuesOf(input), [3, 7])
    t.same(filled(outer, input).values, [3, 7])
    t.equal(filled(outer, input).text, prepare(outer).text)
  }
)

t.test(
  'statements with different texts have different names, and equal texts the same name',
  async (t) => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (one, other) => {
        const names = [one, other].map((text) => prepare(raw(text)).name)
        return (
          (names[0] === names[1]) === (one === other) && names.every((name) => name.length < 64)
        )
      })
    )
    t.pass('for any two')
  }
)
