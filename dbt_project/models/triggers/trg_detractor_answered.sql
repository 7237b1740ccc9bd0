-- Somebody answered that they would not recommend the product: their success manager should call while they remember why.
-- One episode per person and answer.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "owner_alert",
    "key": "event_id",
    "object": "customer",
}}) }}

with

answers as (

    select * from {{ ref('int_survey_answers__attributed') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

ranked as (

    select
        answers.*,
        row_number() over (
            partition by contact_id
            order by answered_at desc, answer_id desc
        ) as recency
    from answers
    where
        survey = 'nps'
        and contact_id is not null

),

opened as (

    select
        ranked.customer_id,
        ranked.contact_id,
        '' as subject,
        ranked.answered_date as opened_date,
        ranked.answer
    from ranked
    inner join customers
        on ranked.customer_id = customers.customer_id
    where
        -- what they said last counts
        ranked.recency = 1
        and ranked.answer <= {{ threshold('detractor_max_answer') }}
        and customers.journey_stage <> 'churned'
        and {{ is_candidate('ranked.answered_date') }}

),

identified as (

    select * from {{ episodes('detractor_answered', 'opened') }} as known_episodes

),

final as (

    select
        identified.event_id,
        identified.customer_id,
        identified.contact_id,
        identified.subject,
        customers.csm_owner_email as owner_email,
        customers.csm_owner_name as owner_name,
        cast(identified.opened_date as {{ dbt.type_timestamp() }}) as occurred_at,
        {{ sentence([
            "'Answered '",
            'cast(identified.answer as integer)',
            "' of 10 on '",
            'identified.opened_date',
        ]) }} as reason,
        customers.customer_name,
        contacts.full_name as contact_name,
        contacts.role as contact_role,
        cast(identified.answer as integer) as answer
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id

)

select * from final
