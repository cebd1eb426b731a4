import { llmAPI } from './api'

// Streaming session chat
const [response, setResponse] = useState('')

llmAPI.chatSessionStream(
  { 
    session_id: 'session-123',
    message: 'Hello!',
    temperature: 0.7 
  },
  (chunk) => setResponse(prev => prev + chunk),  // onChunk
  () => console.log('Done!'),                     // onComplete
  (error) => console.error(error)                 // onError
)
