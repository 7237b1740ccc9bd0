-- People whom mail may reach and whose visits to the website are not known to be theirs: a mail with a link would
-- tell. Who refused to be analysed is not asked again this way.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "list": "Mail without a known visitor",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

reachable as (

    select *
    from {{ ref('contact_consents') }}
    where
        channel = 'email'
        and purpose = 'marketing'
        and is_allowed

),

refused as (

    select distinct contact_id
    from {{ ref('int_contact_links') }}
    where conflict_reason = 'no consent to analytics'

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        {{ sentence([
            "'May be mailed, and no visitor of the website is known to be this person'",
            "case when contacts.preferred_channel = 'email' then '; reads mails' else '' end",
        ]) }} as reason
    from contacts
    inner join customers
        on contacts.customer_id = customers.customer_id
    inner join reachable
        on contacts.contact_id = reachable.contact_id
    left join refused
        on contacts.contact_id = refused.contact_id
    where
        not contacts.is_linked_to_visitor
        and refused.contact_id is null
        and customers.journey_stage <> 'churned'

)

select * from final
