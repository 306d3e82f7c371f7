import { describePlaces } from '../support/places.ts'
import { cases } from './cases/readdir.ts'

describePlaces(cases, new URL('./cases/readdir.ts', import.meta.url))
