-- People at customers who take no call and no meeting, in the list of the channel that they do react on. Mail only to those
-- whom a mail may reach.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "group_key": "channel",
    "list": "Non-responders",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

signals as (

    select * from {{ ref('customer_signals') }}

),

mailable as (

    select *
    from {{ ref('contact_consents') }}
    where
        channel = 'email'
        and purpose = 'service'
        and is_allowed

),

-- their own channel before the one of the company
channelled as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        coalesce(contacts.preferred_channel, signals.responsive_channel) as channel,
        contacts.preferred_channel is not null as is_own_channel,
        signals.human_touches_90d
    from contacts
    inner join customers
        on contacts.customer_id = customers.customer_id
    inner join signals
        on contacts.customer_id = signals.customer_id
    where
        signals.is_non_responder
        and customers.journey_stage <> 'churned'

),

final as (

    select
        channelled.contact_id,
        channelled.customer_id,
        channelled.email,
        channelled.channel,
        {{ sentence([
            "'Nobody took any of '",
            'channelled.human_touches_90d',
            "' calls and meetings in 90 days; '",
            "case when channelled.is_own_channel then 'reacts on ' else 'their company reacts on ' end",
            'channelled.channel',
        ]) }} as reason
    from channelled
    left join mailable
        on channelled.contact_id = mailable.contact_id
    where channelled.channel <> 'email' or mailable.contact_id is not null

)

select * from final
