-- Whether each candidate of each trigger may be sent, and if not, why. The reverse ETL sends only what says `send`.
with

{% for trigger in var('triggers') %}
{{ trigger }} as (

    select * from {{ ref('trg_' ~ trigger) }}

),

{% endfor %}
playbooks as (

    select * from {{ ref('playbooks') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

candidates as (

    {% for trigger in var('triggers') %}
    select
        event_id,
        '{{ trigger }}' as trigger_name,
        customer_id,
        contact_id,
        occurred_at
    from {{ trigger }}
    {% if not loop.last %}
    union all
    {% endif %}
    {% endfor %}

),

-- the first reason that holds counts; alerts to our own people need no consent
decided as (

    select
        candidates.event_id,
        candidates.trigger_name,
        candidates.customer_id,
        candidates.contact_id,
        playbooks.channel,
        candidates.occurred_at,
        case
            when playbooks.audience = 'owner' then 'send'
            when contacts.contact_id is null then 'no_contact'
            when contacts.is_bounced then 'bounced'
            when contacts.is_unsubscribed then 'unsubscribed'
            when playbooks.legal_basis <> 'service' and not contacts.may_be_mailed then 'no_consent'
            else 'send'
        end as decision
    from candidates
    inner join playbooks
        on candidates.trigger_name = playbooks.trigger_name
    left join contacts
        on candidates.contact_id = contacts.contact_id

),

final as (

    select
        event_id,
        trigger_name,
        customer_id,
        contact_id,
        channel,
        occurred_at,
        decision,
        case decision
            when 'send' then 'Nothing speaks against it'
            when 'no_contact' then 'The contact is no longer known'
            when 'bounced' then 'Mail to this address came back for good'
            when 'unsubscribed' then 'The contact has unsubscribed or complained'
            when 'no_consent' then 'No legal basis for this message is known'
        end as reason
    from decided

)

select * from final
