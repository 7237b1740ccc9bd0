-- Somebody answered that they would recommend the product and is not in the community yet: invite them.
-- One episode per person and answer.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "promoter_answered",
}}) }}

with

answers as (

    select * from {{ ref('int_survey_answers__attributed') }}

),

community_acts as (

    select distinct contact_id
    from {{ ref('int_community_acts__attributed') }}

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
        ranked.answered_date as opened_date
    from ranked
    inner join customers
        on ranked.customer_id = customers.customer_id
    left join community_acts
        on ranked.contact_id = community_acts.contact_id
    where
        ranked.recency = 1
        and ranked.answer >= {{ threshold('promoter_min_answer') }}
        and customers.journey_stage <> 'churned'
        and community_acts.contact_id is null
        and {{ is_candidate('ranked.answered_date') }}

),

identified as (

    select * from {{ episodes('promoter_answered', 'opened') }} as known_episodes

),

described as (

    select
        identified.event_id,
        identified.customer_id,
        identified.contact_id,
        identified.subject,
        contacts.email,
        contacts.full_name as contact_name,
        contacts.language,
        cast(identified.opened_date as {{ dbt.type_timestamp() }}) as occurred_at,
        {{ sentence([
            "'Would recommend us, answered on '",
            'identified.opened_date',
            "', and is not in the community'",
        ]) }} as reason,
        customers.customer_name,
        customers.industry
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id

),

final as (

    select * from {{ advised('described', 'community', ['industry']) }} as advised_rows

)

select * from final
