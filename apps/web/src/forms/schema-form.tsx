// The fields of a schema, filled in: one component for each kind of field.
import type { JsonObject, JsonValue, Problem } from '@fabrique/schema'
import { Plus, Upload, X } from 'lucide-react'
import { createContext, type ReactNode, use, useId, useState } from 'react'
import { Button } from '../ui/parts.tsx'
import {
  choicesOf,
  type Field,
  fieldsOf,
  initialValue,
  isObject,
  kindOf,
  labelOf,
  resolve,
  type Schema,
} from './schema.ts'

/** What every field of a form knows. */
interface Form {
  root: Schema
  /** The problems to be shown, each at its place: `/input/prompt`. */
  problems: readonly Problem[]
  onTouch(pointer: string): void
}
const FormContext = createContext<Form>({ root: {}, problems: [], onTouch: () => {} })

const FILE_BYTES_MAX = 700_000

interface Input {
  field: Field
  value: JsonValue | undefined
  pointer: string
  onChange(value: JsonValue | undefined): void
}

/** The fields of an object. Values that are empty are left out. */
export function SchemaForm({
  schema,
  value,
  pointer,
  onChange,
  ...form
}: Form & { schema: Schema; value: JsonObject; pointer: string; onChange(value: JsonObject): void }) {
  return (
    <FormContext value={form}>
      <Fields schema={schema} value={value} pointer={pointer} onChange={onChange} />
    </FormContext>
  )
}

function Fields({
  schema,
  value,
  pointer,
  onChange,
}: {
  schema: Schema
  value: JsonObject
  pointer: string
  onChange(value: JsonObject): void
}) {
  const { root } = use(FormContext)
  return (
    <div className="grid gap-5">
      {fieldsOf(schema, value, root)
        .filter(({ kind }) => kind !== 'const')
        .map((field) => (
          <OneField
            key={field.name}
            field={field}
            value={value[field.name]}
            pointer={`${pointer}/${field.name.replaceAll('~', '~0').replaceAll('/', '~1')}`}
            onChange={(next) => {
              const { [field.name]: _former, ...others } = value
              onChange(next === undefined ? others : { ...others, [field.name]: next })
            }}
          />
        ))}
    </div>
  )
}

function OneField(input: Input) {
  const { field, pointer } = input
  const { problems, onTouch } = use(FormContext)
  const id = useId()
  const own = problems.filter((problem) => problem.pointer === pointer)
  const label = labelOf(field)
  const { description } = field.schema
  const isGroup = ['object', 'list', 'choices'].includes(field.kind)
  const described = `${id}-about`
  const about = (
    <div id={described}>
      {own.map(({ detail }) => (
        <p key={detail} className="mt-1.5 text-bad">
          {sentence(detail)}
        </p>
      ))}
      {typeof description === 'string' && field.kind !== 'boolean' && (
        <p className="mt-1.5 text-sm text-faint">{description}</p>
      )}
    </div>
  )
  const title: ReactNode = (
    <>
      {label}
      {!field.isRequired && field.kind !== 'boolean' && <span className="font-normal text-faint"> optional</span>}
    </>
  )
  const attributes = {
    id,
    'aria-describedby': described,
    'aria-invalid': own.length > 0,
    'aria-required': field.isRequired,
    onBlur: () => onTouch(pointer),
  }
  if (isGroup)
    return (
      <fieldset aria-describedby={described} onBlur={() => onTouch(pointer)}>
        <legend className="mb-1.5 font-medium">{title}</legend>
        <Control {...input} attributes={attributes} />
        {about}
      </fieldset>
    )
  if (field.kind === 'boolean')
    return (
      <div>
        <label className="flex items-center gap-2.5 font-medium">
          <input
            {...attributes}
            type="checkbox"
            checked={input.value === true}
            onChange={({ target }) => input.onChange(target.checked)}
            className="size-4 accent-[var(--accent-fill)]"
          />
          {label}
        </label>
        {typeof description === 'string' && <p className="mt-1 ml-6.5 text-sm text-faint">{description}</p>}
        {about}
      </div>
    )
  return (
    <div>
      <label htmlFor={id} className="mb-1.5 block font-medium">
        {title}
      </label>
      <Control {...input} attributes={attributes} />
      {about}
    </div>
  )
}

type Attributes = Record<string, unknown> & { id: string }

function Control({ field, value, pointer, onChange, attributes }: Input & { attributes: Attributes }) {
  const { root } = use(FormContext)
  const { schema, kind } = field
  switch (kind) {
    case 'choice': {
      const choices = choicesOf(schema)
      const index = choices.findIndex((one) => JSON.stringify(one.value) === JSON.stringify(value))
      return (
        <select
          {...attributes}
          className="field"
          value={index}
          onChange={({ target }) => onChange(choices[Number(target.value)]?.value)}
        >
          {(!field.isRequired || index === -1) && <option value={-1}>{field.isRequired ? 'Choose …' : '—'}</option>}
          {choices.map(({ label }, at) => (
            <option key={label} value={at}>
              {label}
            </option>
          ))}
        </select>
      )
    }
    case 'number':
      return (
        <input
          {...attributes}
          type="number"
          className="field max-w-40"
          min={numberOr(schema.minimum)}
          max={numberOr(schema.maximum)}
          step={schema.type === 'integer' ? 1 : 'any'}
          value={typeof value === 'number' ? value : ''}
          onChange={({ target }) => onChange(target.value === '' ? undefined : target.valueAsNumber)}
        />
      )
    case 'text':
    case 'long-text':
      return <Text {...{ field, value, pointer, onChange, attributes }} />
    case 'date-time':
      return (
        <input
          {...attributes}
          type="datetime-local"
          className="field max-w-64"
          value={typeof value === 'string' ? localTime(value) : ''}
          onChange={({ target }) => onChange(target.value === '' ? undefined : new Date(target.value).toISOString())}
        />
      )
    case 'file':
      return <FileField {...{ field, value, pointer, onChange, attributes }} />
    case 'choices': {
      const chosen = Array.isArray(value) ? value : []
      return (
        <div className="flex flex-wrap gap-x-4 gap-y-1.5">
          {choicesOf(resolve(schema.items, root)).map(({ value: one, label }) => (
            <label key={label} className="flex items-center gap-2">
              <input
                type="checkbox"
                className="size-4 accent-[var(--accent-fill)]"
                checked={chosen.includes(one)}
                onChange={({ target }) =>
                  onChange(target.checked ? [...chosen, one] : chosen.filter((other) => other !== one))
                }
              />
              {label}
            </label>
          ))}
        </div>
      )
    }
    case 'list':
      return <List {...{ field, value, pointer, onChange }} />
    case 'object':
      return (
        <div className="border-l-2 border-line pl-4">
          <Fields schema={schema} value={isObject(value) ? value : {}} pointer={pointer} onChange={onChange} />
        </div>
      )
    default:
      return <JsonField {...{ field, value, pointer, onChange, attributes }} />
  }
}

function Text({ field, value, onChange, attributes }: Input & { attributes: Attributes }) {
  const { schema, kind } = field
  const text = typeof value === 'string' ? value : ''
  const examples = Array.isArray(schema.examples) ? schema.examples.filter((one) => typeof one === 'string') : []
  const shared = {
    ...attributes,
    className: 'field',
    value: text,
    placeholder: examples[0] ?? '',
    onChange: ({ target }: { target: { value: string } }) => onChange(target.value === '' ? undefined : target.value),
  }
  return (
    <>
      {kind === 'text' ? <input {...shared} type="text" /> : <textarea {...shared} rows={3} />}
      {examples.length > 1 && (
        <div className="mt-2 flex flex-wrap gap-1.5" role="group" aria-label={`Examples of ${labelOf(field)}`}>
          {examples.map((one) => (
            <button
              key={one}
              type="button"
              aria-pressed={one === text}
              onClick={() => onChange(one)}
              className={`rounded-full border px-2.5 py-0.5 text-sm ${one === text ? 'border-accent bg-accent-soft text-accent' : 'border-line text-dim hover:border-strong-line hover:text-ink'}`}
            >
              {one}
            </button>
          ))}
        </div>
      )}
    </>
  )
}

function List({ field, value, pointer, onChange }: Input) {
  const { root } = use(FormContext)
  const schema = resolve(field.schema.items, root)
  const items = Array.isArray(value) ? value : []
  const change = (next: JsonValue[]) => onChange(next.length === 0 ? undefined : next)
  const most = numberOr(field.schema.maxItems)
  return (
    <div className="grid gap-2">
      {items.map((item, index) => (
        <div key={index} className="flex items-start gap-2">
          <div className="min-w-0 flex-1">
            <Control
              field={{ name: String(index), schema, kind: kindOf(schema, root), isRequired: true }}
              value={item ?? undefined}
              pointer={`${pointer}/${index}`}
              onChange={(next) => change(items.with(index, next ?? null))}
              attributes={{ id: `${pointer}/${index}`, 'aria-label': `${labelOf(field)} ${index + 1}` }}
            />
          </div>
          <Button
            variant="ghost"
            className="px-2"
            aria-label={`Remove ${labelOf(field)} ${index + 1}`}
            onClick={() => change(items.filter((_, at) => at !== index))}
          >
            <X aria-hidden className="size-4" />
          </Button>
        </div>
      ))}
      <div>
        <Button
          disabled={most !== undefined && items.length >= most}
          onClick={() => change([...items, initialValue(schema, root) ?? emptyOf(schema, root)])}
        >
          <Plus aria-hidden className="size-4" />
          Add
        </Button>
      </div>
    </div>
  )
}

function emptyOf(schema: Schema, root: Schema): JsonValue {
  const kind = kindOf(schema, root)
  return kind === 'object' ? {} : kind === 'list' ? [] : kind === 'text' || kind === 'long-text' ? '' : null
}

function FileField({ field, value, onChange, attributes }: Input & { attributes: Attributes }) {
  const [problem, setProblem] = useState<string | null>(null)
  const [name, setName] = useState<string | null>(null)
  const [isOver, setOver] = useState(false)
  const text = typeof value === 'string' ? value : ''

  function take(file: File | undefined): void {
    if (file === undefined) return
    if (file.size > FILE_BYTES_MAX)
      return setProblem(`${file.name} is larger than ${FILE_BYTES_MAX / 1_000} kB, which is what fits into a request.`)
    setProblem(null)
    setName(file.name)
    const reader = new FileReader()
    reader.onload = () => onChange(reader.result as string)
    reader.readAsDataURL(file)
  }

  return (
    <div
      onDragOver={(event) => {
        event.preventDefault()
        setOver(true)
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault()
        setOver(false)
        const id = event.dataTransfer.getData('text/fabrique-artifact')
        if (id !== '') onChange(id)
        else take(event.dataTransfer.files[0])
      }}
      className={`flex items-center gap-3 rounded-lg border border-dashed p-3 ${isOver ? 'border-accent bg-accent-soft' : 'border-strong-line'}`}
    >
      {text.startsWith('data:image/') ? (
        <img src={text} alt="" className="checkerboard size-14 shrink-0 rounded object-contain" />
      ) : (
        <Upload aria-hidden className="size-5 shrink-0 text-faint" />
      )}
      <div className="min-w-0 flex-1">
        <input
          {...attributes}
          type="file"
          accept={typeof field.schema.contentMediaType === 'string' ? field.schema.contentMediaType : undefined}
          onChange={({ target }) => take(target.files?.[0])}
          className="w-full text-sm text-dim file:mr-3 file:rounded-md file:border file:border-solid file:border-strong-line file:bg-panel file:px-2.5 file:py-1 file:text-ink"
        />
        <p className="mt-1 truncate text-sm text-faint">
          {problem ?? (text === '' ? 'Or drop it here.' : (name ?? (text.startsWith('data:') ? 'A file' : text)))}
        </p>
      </div>
      {text !== '' && (
        <Button variant="ghost" aria-label={`Remove ${labelOf(field)}`} onClick={() => onChange(undefined)}>
          <X aria-hidden className="size-4" />
        </Button>
      )}
    </div>
  )
}

function JsonField({ value, onChange, attributes }: Input & { attributes: Attributes }) {
  const [text, setText] = useState(value === undefined ? '' : JSON.stringify(value, null, 2))
  const [isBroken, setBroken] = useState(false)
  return (
    <>
      <textarea
        {...attributes}
        rows={4}
        spellCheck={false}
        className="field font-mono text-sm"
        placeholder="JSON"
        value={text}
        onChange={({ target }) => {
          setText(target.value)
          try {
            onChange(target.value.trim() === '' ? undefined : (JSON.parse(target.value) as JsonValue))
            setBroken(false)
          } catch {
            setBroken(true)
          }
        }}
      />
      {isBroken && <p className="mt-1 text-bad">This is no JSON yet.</p>}
    </>
  )
}

function numberOr(value: JsonValue | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined
}

function localTime(iso: string): string {
  const date = new Date(iso)
  return Number.isNaN(date.getTime())
    ? ''
    : new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
}

/** Details begin in the middle of a sentence, some with the pointer that the field has shown already. */
export function sentence(detail: string): string {
  const text = detail.replace(/^\/\S*\s+/, '')
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.')
}
